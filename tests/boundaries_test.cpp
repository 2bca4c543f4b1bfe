#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

namespace {

std::string shown(const Dialect* a, const Dialect* b) {
  return std::string(a->name) + " and " + std::string(b->name);
}

bool part_in_some_dtype(const Dialect* a, const Dialect* b) {
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
    for (const Case& c : make_cases("witnesses", dtype, 0))
      if (part_on(c.input.view(), default_spec(*a), default_spec(*b))) return true;
  return false;
}

/// Whether moving the element one step of FP32 to some side changes what the reference makes of it.
bool is_on_a_boundary(const Matrix& x, std::int64_t at, const QuantizeSpec& spec,
                      const BlockScaledTensor& made) {
  for (const float towards : {0.f, INFINITY}) {
    Matrix moved = x;
    moved.f32()[at] = std::nextafter(x.f32()[at], std::copysign(towards, x.f32()[at]));
    if (!compare(made, reference_kernels().quantize(moved.view(), spec, {})).equal()) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("boundaries: on the witnesses every two dialects part") {
  const auto all = all_dialects();
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = i + 1; j < all.size(); ++j)
      CHECK_MESSAGE(part_in_some_dtype(all[i], all[j]), shown(all[i], all[j]));
}

TEST_CASE("boundaries: no dialect parts from itself") {
  for (const Dialect* dialect : all_dialects())
    for (const Case& c : make_cases("witnesses", Dtype::bf16, 0))
      CHECK_FALSE(part_on(c.input.view(), default_spec(*dialect), default_spec(*dialect)));
}

TEST_CASE("boundaries: a step of one ulp changes the reference's code or scale") {
  using namespace dialects;
  for (const Dialect* dialect : {&te::info, &te_ref::info, &paper::info, &vllm::info, &torchao::info,
                                 &jax::info, &ggml::info, &mxfp8_floor::info}) {
    const QuantizeSpec spec = default_spec(*dialect);
    const Matrix x = boundary_rows(spec, Dtype::fp32, 7, 1, 3);
    const BlockScaledTensor made = reference_kernels().quantize(x.view(), spec, {});
    for (std::int64_t at = dialect->block_cols; at < x.cols; ++at) {
      CAPTURE(dialect->name);
      CAPTURE(at);
      CHECK(is_on_a_boundary(x, at, spec, made));
    }
  }
}

TEST_CASE("boundaries: random data of the same size lies on none") {
  const QuantizeSpec spec;
  const Matrix x = make_cases("random", Dtype::fp32, 1)[0].input;
  const BlockScaledTensor made = reference_kernels().quantize(x.view(), spec, {});
  for (std::int64_t at = 0; at < 32; ++at) CHECK_FALSE(is_on_a_boundary(x, at, spec, made));
}

TEST_CASE("boundaries: a witness where there is one, and where not that it was looked for") {
  using dialects::te, dialects::te_fast_math;
  const auto look = [](const Dialect& a, const Dialect& b, Dtype dtype) {
    return find_witness(default_spec(a), default_spec(b), dtype, 20, 1);
  };
  const Witness none = look(te::info, te_fast_math::info, Dtype::fp32);  // its BF16 coefficient alone differs
  CHECK_FALSE(none.input);
  CHECK(none.tries > 20);
  const Witness one = look(te::info, te_fast_math::info, Dtype::bf16);
  REQUIRE(one.input);
  CHECK(part_on(one.input->input.view(), default_spec(te::info), default_spec(te_fast_math::info)));
}
