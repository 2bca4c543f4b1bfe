#pragma once
#include <doctest/doctest.h>

#include <cmath>

#include <nvfp4/linear.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"
#include "tests/gaussian.hpp"

/// One linear layer, and what two runs of it have in common.
namespace layer {

using namespace nvfp4;

struct Layer {
  Matrix x, w, dy;
  LinearResult run(const Recipe& recipe, const Kernels& kernels = cpu_kernels(),
                   std::uint64_t seed = 5) const {
    return linear(recipe, x.view(), w.view(), dy.view(), seed, kernels);
  }
};

inline Layer gaussian_layer(std::int64_t tokens, std::int64_t in, std::int64_t out) {
  return {gaussian::matrix(tokens, in, 1), gaussian::matrix(out, in, 2), gaussian::matrix(tokens, out, 3)};
}

/// In the Frobenius norm.
inline double squared_error(const Matrix& out, const Matrix& exact) {
  double sum = 0;
  for (std::int64_t i = 0; i < out.rows * out.cols; ++i)
    sum += std::pow(double{out.f32()[i]} - double{exact.f32()[i]}, 2);
  return sum;
}

inline bool equal(const Operand& a, const Operand& b) {
  if (a.quantized.has_value() != b.quantized.has_value()) return false;
  if (a.quantized)
    return compare(*a.quantized, *b.quantized).equal() && a.transformed.bytes == b.transformed.bytes;
  return a.dense.bytes == b.dense.bytes;
}

inline bool equal(const Pass& a, const Pass& b) {
  if (a.terms.size() != b.terms.size() || a.out.bytes != b.out.bytes) return false;
  for (std::size_t i = 0; i < a.terms.size(); ++i)
    if (!equal(a.terms[i].a, b.terms[i].a) || !equal(a.terms[i].b, b.terms[i].b) ||
        a.terms[i].out.bytes != b.terms[i].out.bytes)
      return false;
  return true;
}

inline bool equal(const LinearResult& a, const LinearResult& b) {
  return equal(a.fprop, b.fprop) && equal(a.dgrad, b.dgrad) && equal(a.wgrad, b.wgrad);
}

/// Every operand and output is the reference's, by each instruction set and by any number of threads.
inline void check_every_layer(const Layer& in, const Recipe& recipe) {
  CAPTURE(recipe.name);
  const int before = threads();
  const LinearResult expected = in.run(recipe, reference_kernels());
  for (const Kernels* kernels : cpu_tables()) CHECK(equal(expected, in.run(recipe, *kernels)));
  for (const int n : {1, 2, 7}) {
    set_threads(n);
    CHECK(equal(expected, in.run(recipe)));
  }
  set_threads(before);
}

}  // namespace layer
