#pragma once
#include <array>
#include <cstdint>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/dialects/all.hpp>
#include <nvfp4/random.hpp>

/// What an instruction set must supply: the loops over a piece of a tensor. Everything that decides
/// shapes, threads and dialects is above it, in src/quantize.cpp.
namespace nvfp4::isa {

/// Storage types, so that overloads can tell two 16-bit formats apart.
struct Bf16 {
  std::uint16_t bits;
};
struct Fp16 {
  std::uint16_t bits;
};

/// Columns that one task may span: a multiple of `group`, and small enough for its block scales to stay in L1.
inline constexpr std::int64_t chunk = 4096;
/// Columns that are handled without a tail: 16 blocks of 16.
inline constexpr std::int64_t group = 256;

/// RHT of 16 along the rows, each sum in FP32.
struct Transform {
  const float (*entries)[16] = nullptr;  ///< entries[k][j]: diag(sign) H c, whose c is 1/4
  bool fma_chain = false;                ///< else one step of a tensor core
  /// A bit for each two vectors of 16 rows by `transform_cols` columns whose sums are exact in every order.
  std::uint16_t* exact = nullptr;
  std::int64_t exact_stride = 0;  ///< from 16 rows to the next
};
inline constexpr std::int64_t transform_cols = 64;

/// `rows` rows (1 or up to 16, sharing block scales) by up to `chunk` columns of one tensor scale.
struct QuantizeTask {
  const void* x;  ///< first element; rows lie `x_stride` elements apart
  std::int64_t x_stride;
  std::int64_t rows, cols;
  float amax;           ///< of the tensor, or of the row that has its own
  std::uint8_t* codes;  ///< whole blocks of bytes a row, `codes_stride` apart
  std::int64_t codes_stride;
  std::uint8_t* scales;  ///< a byte a block, `scales_stride` apart
  std::int64_t scales_stride;
  Setting setting;
  const Stochastic* stochastic = nullptr;  ///< null: elements round as the dialect says
  std::int64_t row = 0, block = 0;  ///< where the first block stands in the matrix, for its random bits
  std::int64_t words_per_row = 0;   ///< of the caller's random words
  Transform transform{};  ///< of the transpose: comes first, rounded to x's type, `exact` known; null: none
};

/// Rows (tokens) and columns (features) that one task of the transpose may span: a feature's block scales, and the
/// codes of an eighth of them, fill a cache line, and so many features' lines stay in L2.
inline constexpr std::int64_t transposed_rows = 1024, transposed_cols = 512;

/// One row.
struct DequantizeTask {
  const std::uint8_t* codes;
  const std::uint8_t* scales;
  std::int64_t cols;
  float global;
  float* out;
  Setting setting;
};

/// One row of MS-EDEN, rounded to nearest: what its block scales become before they are rounded again.
struct EdenTask {
  const void* x;
  std::int64_t cols;
  const std::uint8_t* scales;
  float global;
  int blocks;  ///< that share a correction: 1, 2, 4, 8 or 16
  float* corrected;
};

/// A step of Accumulation that is cut towards zero and has no NaN and no infinity but what C overflowed to.
struct AlignedStep {
  Conversion out;  ///< rz_fp32, or of products rz_e8m13 or rne_fp16
  int fraction_bits, zero_exponent;
  int left;  ///< fraction_bits less those of a product (or group): 0 or more
};

/// One row of `a` against `count` of `b`, in groups of 16 doubled E2M1 values, 4 or 6 a step, to FP32 by truncation.
struct GroupChains {
  struct Rows {
    const std::int16_t *doubled, *scale, *exponent;
    const std::uint64_t* nonzero;
  } a, b;
  std::int64_t groups, count;
  int groups_a_step;
  AlignedStep step;
  std::uint32_t* codes;
};

/// Groups of 16, one a column, of up to `transform_cols` columns.
struct HadamardTask {
  const void* x;  ///< first of 16 rows, `x_stride` elements apart
  std::int64_t x_stride;
  std::int64_t cols;
  void* out;  ///< of x's type, or FP32 where `rounded` is false
  std::int64_t out_stride;
  bool rounded;
  Transform transform;
};

/// The same of any count of columns, to learn of them only the largest |y| and what is exact.
struct TransformedAmaxTask {
  const void* x;
  std::int64_t x_stride;
  std::int64_t cols;
  Transform transform;
};

constexpr std::size_t dialect_count = Dialects::infos.size();

/// See tile.hpp.
struct Tiles;
extern const Tiles portable_tiles, avx2_tiles, avx512_tiles;

/// See block_tiles.hpp.
struct BlockTiles;

/// See matrix_tiles.hpp.
struct MatrixTiles;

/// Indexed by Dtype and by index_of(dialect).
struct Table {
  /// The largest |x| as bits of the storage type, sign cleared: larger than Inf's where there is a NaN.
  std::array<std::uint32_t (*)(const void* x, std::int64_t count), 3> amax_bits;
  std::array<std::array<void (*)(const QuantizeTask&), 3>, dialect_count> quantize;
  /// The transpose, a row of codes and scales for each column of `x`, by blocks of one row: null where elements are
  /// not E2M1. `rows` and `cols` are those of `x`.
  std::array<std::array<void (*)(const QuantizeTask&), 3>, dialect_count> quantize_transposed;
  /// What a dialect keeps of a tensor's amax.
  std::array<float (*)(float amax, const Setting&), dialect_count> global;
  std::array<void (*)(const DequantizeTask&), dialect_count> dequantize;
  std::array<void (*)(const EdenTask&), 3> corrected_scales;
  /// words[4 b .. 4 b + 3] = draw(bits, row, first_block + b) for b < count.
  void (*random_words)(const RandomBits&, std::int64_t row, std::int64_t first_block, std::int64_t count,
                       std::uint32_t* words);
  const Tiles* tiles;
  const BlockTiles& (*block_tiles)();
  const MatrixTiles* matrix_tiles = nullptr;
  void (*group_chains)(const GroupChains&);
  /// False where these numbers (or this machine) need another way; `out` is then in no state. Null for FP16.
  std::array<bool (*)(const HadamardTask&), 3> hadamard;
  /// Likewise; `amax` of the sums as rounded to x's type, and of what it was.
  std::array<bool (*)(const TransformedAmaxTask&, float& amax), 3> transformed_amax;
};

/// Null where the build or the machine has none.
const Table* portable();
const Table* avx2();
const Table* avx512();
const Table* amx();  ///< AVX-512's, and a matrix unit's products

}  // namespace nvfp4::isa
