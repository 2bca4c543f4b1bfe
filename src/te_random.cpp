#include <nvfp4/te_random.hpp>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include <nvfp4/random.hpp>

namespace nvfp4 {
namespace {

std::int64_t tiles(std::int64_t extent, std::int64_t tile) { return (extent + tile - 1) / tile; }

TeDraw draw_of(std::int64_t subsequence, std::int64_t draw, bool upper_half_first = false) {
  return {static_cast<std::uint64_t>(subsequence), static_cast<std::uint64_t>(draw), upper_half_first};
}

/// The first subsequence of this place's CTA in a grid of 128x128 tiles.
template <int threads>
std::int64_t cta(const TePlace& p) {
  return (p.y / 128 * tiles(p.width, 128) + p.x / 128) * threads;
}

/// Shared memory's banks: lanes 16 to 31 of a warp turn a block's halves round.
bool swizzled(std::int64_t thread) { return thread % 32 >= 16; }

/// Tiles of 64x64, four to a CTA; in each, rows before columns, two draws for each.
std::int64_t tuned_1d_stage(const TePlace& p) { return p.y % 128 / 64 * 2 + p.x % 128 / 64; }

/// Four threads span a tile, 32 rows at a time.
template <int draws_a_stage>
TeDraw tuned_1d_rows(const TePlace& p) {
  const std::int64_t thread = p.y % 32 * 4 + p.x % 64 / 16;
  return draw_of(cta<128>(p) + thread, tuned_1d_stage(p) * draws_a_stage + p.y % 64 / 32, swizzled(thread));
}

/// A lane has two columns side by side. Warps turn by one block of rows every two lanes.
TeDraw tuned_1d_columns(const TePlace& p) {
  const std::int64_t lane = p.x % 64 / 2;
  const std::int64_t warp = (p.y % 64 / 16 - lane / 2 + 16) % 4;
  return draw_of(cta<128>(p) + warp * 32 + lane, tuned_1d_stage(p) * 4 + 2 + p.x % 2);
}

/// Tiles of 32 rows, four to a CTA; in each, columns before rows, two draws for each. Eight threads span a tile, 16
/// rows at a time.
template <int columns_before>
TeDraw generic_2d_rows(const TePlace& p) {
  const std::int64_t thread = p.y % 16 * 8 + p.x % 128 / 16;
  const std::int64_t draw = p.y % 128 / 32 * (columns_before + 2) + columns_before + p.y % 32 / 16;
  return draw_of(cta<128>(p) + thread, draw, swizzled(thread));
}

/// A thread has a column.
template <int rows_after>
TeDraw generic_2d_columns(const TePlace& p) {
  return draw_of(cta<128>(p) + p.x % 128, p.y % 128 / 32 * (2 + rows_after) + p.y % 32 / 16);
}

/// Eight threads span a tile, 32 rows at a time.
TeDraw vector_blockwise_rows(const TePlace& p) {
  return draw_of(cta<256>(p) + p.y % 32 * 8 + p.x % 128 / 16, p.y % 128 / 32);
}

/// All rows first. Eight threads span a tile's height; each has two columns side by side, then those 64 further on.
template <int rows_before>
TeDraw vector_blockwise_columns(const TePlace& p) {
  const std::int64_t thread = p.x % 64 / 2 * 8 + p.y % 128 / 16;
  return draw_of(cta<256>(p) + thread, rows_before + p.x % 128 / 64 * 2 + p.x % 2);
}

/// A work item of the fused kernels: tiles 128 wide, `k_tiles` of them below one another.
struct Work {
  std::int64_t k_tiles;
  std::int64_t item, k;  ///< which item, and which of its tiles
};

/// Items lie side by side, then below; `tokens` is the height of one.
Work work_of(const TePlace& p, std::int64_t tile_height, std::int64_t tokens) {
  const std::int64_t k_tiles = tiles(std::min(p.height, tokens), tile_height);
  const std::int64_t tile = p.y / tile_height;
  return {k_tiles, p.x / 128 + tile / k_tiles * tiles(p.width, 128), tile % k_tiles};
}

/// Threads 128 to 255: a column each, its 128 tokens in order.
TeDraw rht_fused_columns(const TePlace& p) {
  const Work w = work_of(p, 128, 1024);
  return draw_of(128 + p.x % 128 + (w.k + w.item * w.k_tiles) * 512, p.y % 128 / 16);
}

/// Threads 256 to 511: half a row each. They have counted the tile when they seed it, so k is from 1 on.
TeDraw rht_fused_rows(const TePlace& p) {
  const Work w = work_of(p, 128, 1024);
  const std::int64_t thread = 256 + p.y % 128 * 2 + p.x % 128 / 64;
  return draw_of(thread + (w.k + 1 + w.item * w.k_tiles) * 512, p.x % 64 / 16);
}

/// Eight threads span a row, 32 rows at a time; beyond all subsequences of the columns.
TeDraw rht_grouped_rows(const TePlace& p) {
  const Work w = work_of(p, 128, 1024);
  const std::int64_t thread = 256 + p.y % 32 * 8 + p.x % 128 / 16;
  const std::int64_t beyond = tiles(p.width, 128) * tiles(p.height, 128) * w.k_tiles;
  return draw_of(thread + (w.k + 1 + w.item * w.k_tiles + beyond) * 512, p.y % 128 / 32);
}

/// Tokens that one work item of the kernel for columns alone spans; tuned by TE for some shapes.
std::int64_t rht_columns_tokens(const TePlace& p) {
  struct Tuned {
    std::int64_t with_8192, tokens;
  };
  constexpr Tuned tuned[] = {{5120, 512}, {2560, 1280}, {512, 256}, {3584, 512}};
  for (const Tuned& t : tuned)
    if ((p.height == 8192 && p.width == t.with_8192) || (p.width == 8192 && p.height == t.with_8192))
      return t.tokens;
  return std::min(p.width, p.height) < 1024 ? 512 : 1024;
}

/// A thread has a column, 64 tokens in order. Half of the subsequences stay unused.
TeDraw rht_columns(const TePlace& p) {
  const Work w = work_of(p, 64, rht_columns_tokens(p));
  return draw_of(p.x % 128 + (w.k + w.item * w.k_tiles) * 256, p.y % 64 / 16);
}

constexpr std::string_view tuned_1d =
    "cast/nvfp4/specialized/quantize_transpose_nvfp4_tuned_1D.cuh:37-121, 187-389, 528-599";
constexpr std::string_view generic_2d = "cast/nvfp4/quantize_transpose_nvfp4.cuh:239-309, 876-884, 1097-1334";
constexpr std::string_view vector_blockwise =
    "transpose/quantize_transpose_vector_blockwise_fp4.cu:137-155, 339-351, 423-766";
constexpr std::string_view fused =
    "hadamard_transform/row_cast_col_hadamard_transform_cast_fusion.cu:250-320, 711-835, 881-980";
constexpr std::string_view grouped =
    "hadamard_transform/group_row_cast_col_hadamard_transform_cast_fusion.cu:258-310, 742-905, 949-1083 and "
    "its graph_safe_ twin";
constexpr std::string_view alone =
    "hadamard_transform/hadamard_transform_cast_fusion.cu:201-214, 421-544, 792-820 and its group_ twin";

constexpr std::string_view read = "read in code; not compared with a run";
constexpr std::string_view read_generic =
    "read in code; not compared with a run. The generic 1D kernel and the grouped cast of rows draw alike";
constexpr std::string_view read_fused =
    "read in code; who holds which elements by CuTe's layouts, evaluated on a host; not compared with a run. "
    "Tiles are "
    "handed out in any order, but the subsequence is of the tile alone";
constexpr std::string_view read_grouped =
    "as rht_fused. The graph-safe twin takes the items' height from its buffer, so its draws differ where "
    "fewer than "
    "1024 tokens stand in a larger buffer";
constexpr std::string_view read_alone =
    "as rht_fused. JAX gives it the seed and offset of its launch for the rows, so some draws serve both "
    "outputs";

constexpr TeRandomMap table[] = {
    {"tuned_1d_rowwise", tuned_1d, read, false, 128, 128, 128, 32, 32, tuned_1d_rows<4>},
    {"tuned_1d_rowwise_only", tuned_1d, read, false, 128, 128, 128, 32, 32, tuned_1d_rows<2>},
    {"tuned_1d_columnwise", tuned_1d, read, true, 128, 128, 128, 32, 32, tuned_1d_columns},
    {"generic_2d_rowwise", generic_2d, read_generic, false, 128, 128, 128, 32, 32, generic_2d_rows<2>},
    {"generic_2d_rowwise_only", generic_2d, read_generic, false, 128, 128, 128, 32, 32, generic_2d_rows<0>},
    {"generic_2d_columnwise", generic_2d, read_generic, true, 128, 128, 128, 32, 32, generic_2d_columns<2>},
    {"generic_2d_columnwise_only", generic_2d, read, true, 128, 128, 128, 32, 32, generic_2d_columns<0>},
    {"vector_blockwise_rowwise", vector_blockwise, read, false, 128, 128, 256, 16, 16, vector_blockwise_rows},
    {"vector_blockwise_columnwise", vector_blockwise, read, true, 128, 128, 256, 16, 16,
     vector_blockwise_columns<4>},
    {"vector_blockwise_columnwise_only", vector_blockwise, read, true, 128, 128, 256, 16, 16,
     vector_blockwise_columns<0>},
    {"rht_fused_rows", fused, read_fused, false, 128, 128, 512, 64, 64, rht_fused_rows},
    {"rht_fused_columns", fused, read_fused, true, 128, 128, 512, 64, 64, rht_fused_columns},
    {"rht_grouped_rows", grouped, read_grouped, false, 128, 128, 512, 128, 128, rht_grouped_rows},
    {"rht_grouped_columns", grouped, read_grouped, true, 128, 128, 512, 128, 128, rht_fused_columns},
    {"rht_columns", alone, read_alone, true, 128, 64, 256, 128, 64, rht_columns},
};

void require_shape(const TeRandomMap& map, std::int64_t rows, std::int64_t cols) {
  const int row_multiple = map.columnwise ? map.width_multiple : map.height_multiple;
  const int col_multiple = map.columnwise ? map.height_multiple : map.width_multiple;
  if (rows >= 0 && cols >= 0 && rows % row_multiple == 0 && cols % col_multiple == 0) return;
  throw std::invalid_argument("Transformer Engine's " + std::string(map.name) +
                              " writes rows in multiples of " + std::to_string(row_multiple) +
                              " and columns in multiples of " + std::to_string(col_multiple) + ", not " +
                              std::to_string(rows) + " x " + std::to_string(cols));
}

std::array<std::uint32_t, 4> words_of(const TeDraw& d, std::uint64_t seed, std::uint64_t offset, int rounds) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const std::uint64_t lower = offset + d.draw, upper = d.subsequence + (lower < offset);
  auto words = philox4x32({low(lower), low(lower >> 32), low(upper), low(upper >> 32)},
                          {low(seed), low(seed >> 32)}, rounds);
  if (d.upper_half_first) std::rotate(words.begin(), words.begin() + 2, words.end());
  return words;
}

}  // namespace

std::span<const TeRandomMap> te_random_maps() { return table; }

const TeRandomMap* find_te_random_map(std::string_view name) {
  const auto found = std::ranges::find(table, name, &TeRandomMap::name);
  return found == std::end(table) ? nullptr : found;
}

TeDraw te_draw(const TeRandomMap& map, std::int64_t rows, std::int64_t cols, std::int64_t row,
               std::int64_t block) {
  return map.draw(map.columnwise ? TePlace{rows, cols, row, 16 * block}
                                 : TePlace{cols, rows, 16 * block, row});
}

std::vector<std::uint32_t> te_random_words(const TeRandomMap& map, std::int64_t rows, std::int64_t cols,
                                           std::uint64_t seed, std::uint64_t offset, int rounds) {
  require_shape(map, rows, cols);
  std::vector<std::uint32_t> words;
  words.reserve(static_cast<std::size_t>(rows * (cols / 4)));
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t block = 0; block < cols / 16; ++block)
      std::ranges::copy(words_of(te_draw(map, rows, cols, row, block), seed, offset, rounds),
                        std::back_inserter(words));
  return words;
}

}  // namespace nvfp4
