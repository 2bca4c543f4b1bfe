#include "formats.hpp"

#include "elements.cuh"
#include "formats.cuh"

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

}  // namespace nvfp4::gpu
