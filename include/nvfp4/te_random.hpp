#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace nvfp4 {

/// Which random words Transformer Engine's kernels give to which elements when they round stochastically. Its threads
/// draw as they go, so that depends on each kernel's tiles and threads; a map states it in closed form.
///
/// A draw is philox4x32 at the counter {offset, subsequence} + draw (each 64 bits, carries go up) under the key seed
/// (util/curanddx.hpp); unlike in cuRAND, an offset counts draws. A draw's four words serve one block of 16 elements.
/// seed and offset are those of PyTorch's CUDA generator when the kernel was called, which then moves its offset on
/// by 1024, for a group by 1024 a tensor; with a transform but not one fused kernel, once for each direction.

/// Where a block's words come from.
struct TeDraw {
  std::uint64_t subsequence = 0;
  std::uint64_t draw = 0;         ///< of that subsequence, from 0 on
  bool upper_half_first = false;  ///< words 0 and 1 serve elements 8 to 15, words 2 and 3 elements 0 to 7
  friend bool operator==(const TeDraw&, const TeDraw&) = default;
};

/// A place in the (height x width) input of a launch.
struct TePlace {
  std::int64_t width, height;
  std::int64_t x, y;
};

/// One output of one kernel.
struct TeRandomMap {
  std::string_view name;
  std::string_view kernel;      ///< file under transformer_engine/common and lines, at commit d0067d0da6cb
  std::string_view evidence;    ///< how it is known, and what is not
  bool columnwise;              ///< of the input's transpose
  int tile_width, tile_height;  ///< of the input; one CTA's at a time
  int threads;                  ///< a CTA: the subsequences from one tile to the next
  int width_multiple, height_multiple;   ///< what the kernel takes
  TeDraw (*draw)(const TePlace& first);  ///< of the block whose first element this is
};

/// In the order of TE's own choice: tuned_1d_* (BF16, both dimensions multiples of 32), generic_2d_* (the same with
/// 16x16 blocks; a group's rows too, packed), vector_blockwise_* (all else), and with a transform rht_fused_*,
/// rht_grouped_* (of all tokens of the group, packed) and rht_columns (alone). *_only stands where a launch that
/// makes no other output draws other words.
std::span<const TeRandomMap> te_random_maps();
const TeRandomMap* find_te_random_map(std::string_view name);

/// The draw of elements (row, 16 block) to (row, 16 block + 15) of a (rows x cols) output: for a columnwise one, of
/// the transpose, where a row is a column of the input. Shapes as in te_random_words.
TeDraw te_draw(const TeRandomMap&, std::int64_t rows, std::int64_t cols, std::int64_t row,
               std::int64_t block);

/// The random words of a (rows x cols) output: (rows, cols / 16 * 4), one for each 4 consecutive elements. Throws
/// std::invalid_argument for a shape that the kernel does not take. `rounds` is TE's NVTE_BUILD_NUM_PHILOX_ROUNDS.
std::vector<std::uint32_t> te_random_words(const TeRandomMap&, std::int64_t rows, std::int64_t cols,
                                           std::uint64_t seed, std::uint64_t offset, int rounds = 10);

}  // namespace nvfp4
