// The join as a whole, phase by phase.

#include "kernel/join/join.hpp"

#include <optional>
#include <stdexcept>
#include <utility>

#include "kernel/join/decode.hpp"
#include "kernel/join/equal.hpp"
#include "kernel/join/keys.hpp"
#include "kernel/join/match.hpp"
#include "kernel/join/output.hpp"
#include "kernel/join/partition.hpp"
#include "kernel/join/plan.hpp"
#include "kernel/join/scatter.hpp"

namespace elevon::kernel {

using arrow::Column;
using arrow::Kind;
using arrow::Layout;
using arrow::Table;

namespace {

bool is_existence(JoinType how) {
  return how == JoinType::Semi || how == JoinType::Anti;
}
bool keeps_left(JoinType how) {
  return how == JoinType::Left || how == JoinType::Outer;
}
bool keeps_right(JoinType how) {
  return how == JoinType::Right || how == JoinType::Outer;
}

struct KeyPair {
  const Column* left;
  const Column* right;
};

// What every phase needs to know.
struct JoinContext {
  const Table& left;
  const Table& right;
  const JoinSpec& spec;
  JoinKeys& keys;
  const JoinPlan& plan;

  [[nodiscard]] KeyPair key(std::int64_t position) const {
    const auto at = static_cast<std::size_t>(position);
    return {&left.column(spec.left_on[at]), &right.column(spec.right_on[at])};
  }
};

template <typename Scheme, typename Index>
class Join {
 public:
  explicit Join(const JoinContext& context)
      : context_(context),
        scheme_(context.plan),
        probe_(place(!context.plan.build_left, false)),
        build_(place(context.plan.build_left, !Scheme::kExact)) {}

  Table run() {
    match();
    return is_existence(context_.spec.how) ? existing_rows() : joined_rows();
  }

 private:
  using SideType = Side<Scheme, Index>;

  struct Result {
    explicit Result(std::size_t size) : made(size), is_made(size) {}
    std::vector<Column> made;
    std::vector<bool> is_made;
  };

  // The side that is (left or not) probe or build, in its partitions. There its codes are not
  // needed any more.
  SideType place(bool left, bool keep_codes) {
    auto& reader = left ? context_.keys.left : context_.keys.right;
    const std::int64_t rows = left ? context_.left.num_rows() : context_.right.num_rows();
    if (context_.plan.partition_bits == 0) {
      return leave_side<Scheme, Index>(*reader, rows, scheme_, keep_codes);
    }
    SideType side = scatter_side<Scheme, Index>(*reader, rows, scheme_, context_.plan);
    side.reader = nullptr;
    reader.reset();
    return side;
  }

  void match() {
    left_keys_ = by_position(context_.keys.left_columns, placement(true));
    right_keys_ = by_position(context_.keys.right_columns, placement(false));
    std::unique_ptr<const KeyEquality> equality;
    if (!context_.keys.exact) equality = make_key_equality(left_keys_, right_keys_);
    const Verifier<Index> verifier{equality.get(), context_.plan.build_left};
    matches_ = match_sides(probe_, build_, scheme_, verifier, rules(), context_.plan);
  }

  [[nodiscard]] const Placement<Index>& placement(bool left) const {
    return left == context_.plan.build_left ? build_.placement : probe_.placement;
  }

  std::vector<Column> by_position(const std::vector<Column>& keys,
                                  const Placement<Index>& placement) const {
    std::vector<Column> columns;
    for (const Column& key : keys) {
      columns.push_back(placement.scattered()
                            ? scatter_column(key, placement, context_.plan.threads)
                            : combine_chunks(key, context_.plan.threads));
    }
    return columns;
  }

  [[nodiscard]] MatchRules rules() const {
    const JoinType how = context_.spec.how;
    const bool build_left = context_.plan.build_left;
    return {build_left ? keeps_right(how) : keeps_left(how),
            build_left ? keeps_left(how) : keeps_right(how), is_existence(how)};
  }

  // Left probes an existence join.
  Table existing_rows() {
    const bool wanted = context_.spec.how == JoinType::Semi;
    const auto rows =
        marked_rows(matches_.probe_matched, probe_.placement, wanted, context_.plan.threads);
    std::vector<Column> columns;
    for (const JoinColumn& output : context_.spec.output) {
      const Column& column = output.side == JoinSide::Key ? *context_.key(output.position).left
                                                          : context_.left.column(output.position);
      columns.push_back(
          gather(column, Rows(rows.span()), context_.plan.threads).renamed(output.name));
    }
    return {std::move(columns), rows.size()};
  }

  // Decoded keys first, then left and then right columns: what the next ones do not need goes back
  // to the pool before they ask for memory.
  Table joined_rows() {
    Result columns(context_.spec.output.size());
    fill(columns, [&](const JoinColumn& output) { return decoded(output); });
    probe_.locals = {};
    build_.locals = {};
    SideColumns<Index> left = side_columns(true);
    SideColumns<Index> right = side_columns(false);
    fill(columns, [&](const JoinColumn& output) { return from_left(output, left); });
    left.forget();
    fill(columns, [&](const JoinColumn& output) { return from_right(output, right); });
    fill(columns, [&](const JoinColumn& output) { return from_both(output, left, right); });
    return {std::move(columns.made), matches_.rows};
  }

  // Asks `make` for every column that is still missing.
  template <typename Make>
  void fill(Result& columns, Make&& make) const {
    for (std::size_t i = 0; i < columns.made.size(); ++i) {
      if (columns.is_made[i]) continue;
      std::optional<Column> column = make(context_.spec.output[i]);
      if (!column) continue;
      columns.made[i] = std::move(*column);
      columns.is_made[i] = true;
    }
  }

  SideColumns<Index> side_columns(bool left) {
    const bool probes = left != context_.plan.build_left;
    MatchedSide<Index> side;
    side.placement = &placement(left);
    side.positions = probes ? &Segment<Index>::probe : &Segment<Index>::build;
    side.may_miss = left ? keeps_right(context_.spec.how) : keeps_left(context_.spec.how);
    side.unordered = !probes;
    SideColumns<Index> columns(side, matches_, context_.plan.threads);
    std::vector<Column>& keys = left ? left_keys_ : right_keys_;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const KeyPair key = context_.key(static_cast<std::int64_t>(i));
      columns.know(left ? *key.left : *key.right, std::move(keys[i]));
    }
    return columns;
  }

  // The column whose every value is the result row's key, or nullptr.
  [[nodiscard]] const Column* key_column(const JoinColumn& output) const {
    const KeyPair key = context_.key(0);
    const JoinType how = context_.spec.how;
    switch (output.side) {
      case JoinSide::Key: return output.position == 0 ? key.left : nullptr;
      case JoinSide::Left:
        return output.position == context_.spec.left_on[0] && !keeps_right(how) ? key.left
                                                                                : nullptr;
      default:
        return output.position == context_.spec.right_on[0] && !keeps_left(how) ? key.right
                                                                                : nullptr;
    }
  }

  std::optional<Column> decoded(const JoinColumn& output) const {
    const Column* column = key_column(output);
    if (column == nullptr ||
        !can_decode(column->type(), context_.keys.is_value, probe_.placement, matches_)) {
      return std::nullopt;
    }
    arrow::Field field = column->field();
    field.name = output.name;
    return Column(
        field, {decode_keys(field.type, scheme_, probe_, build_, matches_, context_.plan.threads)});
  }

  std::optional<Column> from_left(const JoinColumn& output, SideColumns<Index>& left) const {
    if (output.side == JoinSide::Left) {
      return left.take(context_.left.column(output.position), output.name);
    }
    if (output.side == JoinSide::Key && !left.may_miss()) {
      return left.take(*context_.key(output.position).left, output.name);
    }
    return std::nullopt;
  }

  // A key is the same on both sides, except for what equals without being identical: two zeros,
  // and one value behind two dictionaries.
  std::optional<Column> from_right(const JoinColumn& output, SideColumns<Index>& right) const {
    if (output.side == JoinSide::Right) {
      return right.take(context_.right.column(output.position), output.name);
    }
    const KeyPair key = context_.key(output.position);
    const bool identical = same_type(key.left->type(), key.right->type()) &&
                           key.left->type().kind != Kind::Float &&
                           key.left->type().layout != Layout::Dictionary;
    if (identical && !right.may_miss()) return right.take(*key.right, output.name);
    return std::nullopt;
  }

  std::optional<Column> from_both(const JoinColumn& output, SideColumns<Index>& left,
                                  SideColumns<Index>& right) const {
    const KeyPair key = context_.key(output.position);
    return coalesce(*key.left, *key.right, left, right, output.name, context_.plan.threads);
  }

  const JoinContext& context_;
  Scheme scheme_;
  SideType probe_;
  SideType build_;
  // The keys by position, where codes are not exact.
  std::vector<Column> left_keys_;
  std::vector<Column> right_keys_;
  Matches<Index> matches_;
};

template <typename Index>
Table run(const JoinContext& context) {
  if (!context.plan.ranged) return Join<HashScheme, Index>(context).run();
  // 16 bits leave no slot for rows that match nothing, which only partitions need not have.
  const bool narrow = context.plan.partition_bits > 0 && context.plan.slot_bits <= 16;
  if (narrow) return Join<RangeScheme<std::uint16_t>, Index>(context).run();
  return Join<RangeScheme<std::uint32_t>, Index>(context).run();
}

void check_output(const JoinContext& context) {
  for (const JoinColumn& output : context.spec.output) {
    const bool right = output.side == JoinSide::Right;
    if (right && is_existence(context.spec.how)) {
      throw std::invalid_argument("a semi or anti join has no right columns, but \"" + output.name +
                                  "\" is one");
    }
    const auto pairs = static_cast<std::int64_t>(context.spec.left_on.size());
    if (output.side == JoinSide::Key && (output.position < 0 || output.position >= pairs)) {
      throw std::invalid_argument("there is no key pair " + std::to_string(output.position));
    }
    if (output.side == JoinSide::Left) static_cast<void>(context.left.column(output.position));
    if (right) static_cast<void>(context.right.column(output.position));
  }
}

std::vector<const Column*> key_columns(const Table& table, const std::vector<std::int64_t>& on) {
  std::vector<const Column*> columns;
  for (const std::int64_t position : on) columns.push_back(&table.column(position));
  return columns;
}

}  // namespace

JoinType parse_join_type(std::string_view name) {
  if (name == "inner") return JoinType::Inner;
  if (name == "left") return JoinType::Left;
  if (name == "right") return JoinType::Right;
  if (name == "outer") return JoinType::Outer;
  if (name == "semi") return JoinType::Semi;
  if (name == "anti") return JoinType::Anti;
  throw std::invalid_argument("how must be inner, left, right, outer, semi or anti, not \"" +
                              std::string(name) + "\"");
}

JoinSide parse_join_side(std::string_view name) {
  if (name == "left") return JoinSide::Left;
  if (name == "right") return JoinSide::Right;
  if (name == "key") return JoinSide::Key;
  throw std::invalid_argument("an output column is of the left, right or key side, not \"" +
                              std::string(name) + "\"");
}

Table hash_join(const Table& left, const Table& right, const JoinSpec& spec) {
  JoinKeys keys = encode_keys(key_columns(left, spec.left_on), key_columns(right, spec.right_on),
                              spec.nulls_equal, spec.tuning.code_bits, spec.threads);
  const JoinPlan plan = make_plan(left.num_rows(), right.num_rows(), keys, spec);
  const JoinContext context{left, right, spec, keys, plan};
  check_output(context);
  return plan.wide ? run<std::int64_t>(context) : run<std::uint32_t>(context);
}

}  // namespace elevon::kernel
