#pragma once
#include <cstdint>
#include <span>

#include <nvfp4/random.hpp>

namespace nvfp4::reference {

/// As in Kernels.
void random_words(const RandomBits&, std::int64_t row, std::int64_t first_block,
                  std::span<std::uint32_t> words);

}  // namespace nvfp4::reference
