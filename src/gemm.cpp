#include <nvfp4/gemm.hpp>

#include "float_environment.hpp"

namespace nvfp4 {
namespace {

bool keeps_amax(const BlockScaledTensor& t) { return t.spec.dialect->global_is == GlobalIs::amax; }
bool is_per_row(const BlockScaledTensor& t) { return t.spec.tensor_scale == TensorScale::row; }

/// The factor by which one second-level scale multiplies on the way out. The divisors of amaxes stand in alpha.
float factor(const BlockScaledTensor& t, std::int64_t row) {
  const float global = t.global_of_row(row);
  return t.spec.dialect->global_is == GlobalIs::divide ? 1 / global : global;
}

float inverse_divisors(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  const int da = keeps_amax(a) ? global_divisor(a.spec) : 1, db = keeps_amax(b) ? global_divisor(b.spec) : 1;
  return 1 / (static_cast<float>(da) * static_cast<float>(db));  // the product of two such integers is exact
}

/// A factor for each row of t, with the other operand's single one where it has no rows of its own.
std::vector<float> factors(const BlockScaledTensor& t, const BlockScaledTensor& other) {
  std::vector<float> each;
  for (std::int64_t i = 0; is_per_row(t) && i < t.rows; ++i)
    each.push_back(is_per_row(other) ? factor(t, i) : factor(t, i) * factor(other, 0));
  return each;
}

}  // namespace

OutputScaling output_scaling(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  const cpu::FloatEnvironment fenced;
  const float inverse = inverse_divisors(a, b);
  if (is_per_row(a) || is_per_row(b)) return {inverse, false, factors(a, b), factors(b, a)};
  return {factor(a, 0) * factor(b, 0) * inverse};
}

}  // namespace nvfp4
