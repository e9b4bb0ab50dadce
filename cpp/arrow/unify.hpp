// One dictionary for all chunks of a column, so that indices compare across chunks.
#pragma once

#include <vector>

#include "arrow/view.hpp"

namespace elevon::arrow {

// The chunks with one shared dictionary (nested ones too); untouched where they share already.
// Values keep the order of their first occurrence; an equal value keeps one entry, and a null
// entry is kept. Throws std::invalid_argument where the union outgrows the index type, or where
// values that cannot be compared by their bytes (nested types) differ between chunks.
[[nodiscard]] std::vector<ArrayPtr> unify_dictionaries(const Type& type,
                                                       std::vector<ArrayPtr> chunks);

}  // namespace elevon::arrow
