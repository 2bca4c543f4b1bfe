#pragma once
#include <cstdint>
#include <random>

#include <nvfp4/tensor.hpp>

/// Normal deviates.
namespace gaussian {

/// Columns first, first + every, ... are `factor` times as large.
struct HotColumns {
  std::int64_t every = 1, first = 0;
  float factor = 1;
};

inline nvfp4::Matrix matrix(std::int64_t rows, std::int64_t cols, unsigned seed, const HotColumns& hot = {}) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  nvfp4::Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows * cols; ++i)
    x.f32()[i] = normal(random) * (i % cols % hot.every == hot.first ? hot.factor : 1.f);
  return x;
}

}  // namespace gaussian
