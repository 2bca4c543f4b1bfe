#pragma once
#include <cstdint>

#include <nvfp4/formats.hpp>
#include <nvfp4/random.hpp>
#include <nvfp4/stochastic.hpp>

#include "stream.hpp"

/// The conversions of Kernels, on n values in device memory, one 32-bit code each.
namespace nvfp4::gpu {

void encode(const float* values, std::int64_t n, const Encoding&, std::uint32_t* codes, Stream);

/// Throws std::invalid_argument for an encoding that validate() refuses.
void encode_stochastic(const float* values, const std::uint32_t* random, std::int64_t n,
                       const StochasticEncoding&, std::uint32_t* codes, Stream);

void decode(const std::uint32_t* codes, std::int64_t n, Format, float* values, Stream);

/// words[4 b .. 4 b + 3] = draw(bits, row, first_block + b), of `blocks` draws.
void random_words(const RandomBits&, std::int64_t row, std::int64_t first_block, std::int64_t blocks,
                  std::uint32_t* words, Stream);

}  // namespace nvfp4::gpu
