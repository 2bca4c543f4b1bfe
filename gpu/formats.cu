#include "gpu/formats.hpp"

#include "gpu/elements.cuh"
#include "gpu/formats.cuh"

namespace nvfp4::gpu {

void encode(const float* values, std::int64_t n, const Encoding& e, std::uint32_t* codes, Stream stream) {
  for_each(n, Encode{values, encoder(e), codes}, stream, "encode");
}

void encode_stochastic(const float* values, const std::uint32_t* random, std::int64_t n,
                       const StochasticEncoding& e, std::uint32_t* codes, Stream stream) {
  validate(e);
  for_each(n, EncodeStochastic{values, random, encoder(e), codes}, stream, "encode_stochastic");
}

void decode(const std::uint32_t* codes, std::int64_t n, Format format, float* values, Stream stream) {
  for_each(n, Decode{codes, code_fields(format), values}, stream, "decode");
}

void random_words(const RandomBits& bits, std::int64_t row, std::int64_t first_block, std::int64_t blocks,
                  std::uint32_t* words, Stream stream) {
  for_each(blocks, Draw{bits, row, first_block, words}, stream, "random_words");
}

namespace {

/// [format][target][sign]: the table of reference/README.md.
constexpr std::uint32_t nan_codes[][4][2] = {
    /* e2m1  */ {{7, 7}, {8, 0}, {8, 8}, {0, 8}},
    /* e2m3  */ {{0x1F, 0x1F}, {0x20, 0}, {0x20, 0}, {0, 0x20}},
    /* e3m2  */ {{0x1F, 0x1F}, {0x20, 0}, {0x20, 0}, {0, 0x20}},
    /* e4m3  */ {{0x7F, 0x7F}, {0x7F, 0xFF}, {0x7F, 0xFF}, {0x7F, 0xFF}},
    /* ue4m3 */ {{0x7F, 0x7F}, {0x7F, 0x7F}, {0x7F, 0x7F}, {0x7F, 0x7F}},
    /* e5m2  */ {{0x7F, 0x7F}, {0x7E, 0xFE}, {0x7E, 0xFE}, {0x7F, 0xFF}},
    /* e8m0  */ {{0xFF, 0xFF}, {0xFF, 0xFF}, {0xFF, 0xFF}, {0xFF, 0xFF}},
    /* bf16  */ {{0x7FFF, 0x7FFF}, {0x7FC0, 0xFFC0}, {0x7FC0, 0xFFC0}, {0x7FC0, 0x7FC0}},
    /* fp16  */ {{0x7FFF, 0x7FFF}, {0x7E00, 0xFE00}, {0x7E00, 0xFE00}, {0x7E00, 0xFE00}},
    /* tf32  */
    {{0x7FFFE000, 0x7FFFE000}, {0x7FC00000, 0xFFC00000}, {0x7FC00000, 0xFFC00000}, {0x7FC00000, 0xFFC00000}},
};

}  // namespace

/// torchao rounds a NaN to a format below 8 bits as if it were a number.
Encoder encoder(const Encoding& e) {
  const CodeFields f = code_fields(e.format);
  const auto& nan = nan_codes[static_cast<int>(e.format)][static_cast<int>(e.target)];
  const bool special = e.overflow == Overflow::special && (f.has_infinity || f.has_nan);
  return {.f = f,
          .rounding = e.rounding,
          .overflow = f.last_finite() + (special ? 1 : 0),
          .nan = nan[0],
          .minus_nan = nan[1],
          .nan_index_mask = e.target == Target::torch && f.bits < 8 ? f.last_finite() : 0,
          .power_has_nan_for_others = e.target == Target::ml_dtypes || e.target == Target::xla};
}

StochasticEncoder encoder(const StochasticEncoding& e) {
  const CodeFields f = code_fields(e.format);
  const std::uint32_t all_ones = (1u << (f.bits - 1)) - 1;
  return {.f = f,
          .rule = e.rule,
          .bits = e.bits,
          .largest = f.has_nan ? all_ones - 1 : all_ones,
          .nan = all_ones};
}

}  // namespace nvfp4::gpu
