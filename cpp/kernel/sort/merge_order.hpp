// The merged order of sorted runs: piece by piece, where in its piece each row was.
#pragma once

#include <span>

#include "kernel/keys/normalize.hpp"
#include "kernel/sort/merge_pieces.hpp"
#include "kernel/sort/writer.hpp"

namespace elevon::kernel {

// Merges every piece, and fills the decoded columns on the way.
[[nodiscard]] RowOrder merge_pieces(const KeyOrder& order, const Pieces& pieces,
                                    std::span<const DecodedColumn> decoded);

}  // namespace elevon::kernel
