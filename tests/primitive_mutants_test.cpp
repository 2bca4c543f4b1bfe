#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "reference/quantizer.hpp"

using namespace nvfp4;

/// Every dialect on a number whose primitives are wrong, one at a time. The case packs must catch each wrong
/// primitive in each dialect whose bytes it can change; where it can change none, `equivalent` says why.
namespace twisted {

using reference::Code;
namespace ref = nvfp4::reference;

enum class Wrong {
  nothing,
  divides_by_reciprocal,
  exact_rcp,
  rounds_product,  ///< before multiply_add adds
  keeps_subnormals,
  keeps_fp32,  ///< where BF16 or FP16 is rounded to
  scale_truncates,
  scale_ties_away,
  scale_wraps_nan,
  element_ties_away,
  element_truncates,
  loses_sign_of_zero,
  minimum_takes_nan,
  minimum_drops_nan,
  no_minimum,
};
constexpr std::string_view names[] = {"nothing",
                                      "divides by a reciprocal",
                                      "exact reciprocal for rcp.approx",
                                      "rounds the product of multiply_add",
                                      "keeps subnormals",
                                      "does not round to BF16 or FP16",
                                      "truncates block scales",
                                      "block scales' ties go away from zero",
                                      "NaN's block scale is 448",
                                      "elements' ties go away from zero",
                                      "truncates elements",
                                      "loses the sign of zero",
                                      "min_num takes a NaN",
                                      "min_nan drops a NaN",
                                      "no minimum"};
Wrong wrong = Wrong::nothing;
std::array<bool, std::size(names)> met{};  ///< which could have mattered

/// Whether this primitive is to be wrong now.
bool is(Wrong w) {
  met[static_cast<std::size_t>(w)] = true;
  return wrong == w;
}

struct Number {
  using Code = reference::Code;
  float value;
  explicit Number(float value) : value(value) {}
  explicit Number(ref::Number n) : value(n.value) {}
  operator ref::Number() const { return ref::Number(value); }
  static Number e2m1_value(reference::Code code) { return Number(ref::Number::e2m1_value(code)); }
};
struct Scale {
  reference::Code code;
  Number value;
  explicit Scale(ref::Scale s) : code(s.code), value(s.value) {}
};
using N = ref::Number;

Number operator*(Number a, Number b) { return Number(N(a) * N(b)); }
Number operator+(Number a, Number b) { return Number(N(a) + N(b)); }
Number operator-(Number a, Number b) { return Number(N(a) - N(b)); }
Number operator/(Number a, Number b) {
  return Number(is(Wrong::divides_by_reciprocal) ? N(a) * (N(1) / N(b)) : N(a) / N(b));
}
Number multiply_add(Number a, Number b, Number c) {
  return Number(is(Wrong::rounds_product) ? N(a) * N(b) + N(c) : ref::multiply_add(N(a), N(b), N(c)));
}
bool operator==(Number a, Number b) { return N(a) == N(b); }
bool operator<(Number a, Number b) { return N(a) < N(b); }
bool is_nan(Number a) { return ref::is_nan(N(a)); }
bool any_nan(Number a) { return is_nan(a); }
bool has_sign(Number a) { return !(is(Wrong::loses_sign_of_zero) && a == Number(0)) && ref::has_sign(N(a)); }
Number abs(Number a) { return Number(ref::abs(N(a))); }
Number select(bool mask, Number x, Number y) { return mask ? x : y; }
Code select(bool mask, Code x, Code y) { return mask ? x : y; }

Number min_num(Number a, Number bound) {
  if (is(Wrong::no_minimum)) return a;
  return is(Wrong::minimum_takes_nan) ? Number(ref::min_nan(N(a), N(bound)))
                                      : Number(ref::min_num(N(a), N(bound)));
}
Number min_nan(Number a, Number bound) {
  if (is(Wrong::no_minimum)) return a;
  return is(Wrong::minimum_drops_nan) ? Number(ref::min_num(N(a), N(bound)))
                                      : Number(ref::min_nan(N(a), N(bound)));
}
Number max_nan(Number a, Number bound) { return Number(ref::max_nan(N(a), N(bound))); }
Number ftz(Number a) { return is(Wrong::keeps_subnormals) ? a : Number(ref::ftz(N(a))); }
Number to_bf16(Number a) { return is(Wrong::keeps_fp32) ? a : Number(ref::to_bf16(N(a))); }
Number to_fp16(Number a) { return is(Wrong::keeps_fp32) ? a : Number(ref::to_fp16(N(a))); }
Number rcp_approx_ftz(Number a) {
  return Number(is(Wrong::exact_rcp) ? ref::ftz(N(1) / ref::ftz(N(a))) : ref::rcp_approx_ftz(N(a)));
}

Scale e4m3(Number t, Rounding rounding) {
  if (is(Wrong::scale_truncates)) rounding = Rounding::toward_zero;
  if (is(Wrong::scale_ties_away)) rounding = Rounding::ties_away;
  return Scale(ref::e4m3(is(Wrong::scale_wraps_nan) && is_nan(t) ? N(448) : N(t), rounding));
}
Scale e4m3_satfinite(Number t) { return e4m3(t, Rounding::nearest_even); }
Scale e4m3_up(Number t) { return e4m3(t, Rounding::up); }
Scale e4m3_ggml(Number t) {
  const bool own = is(Wrong::scale_truncates);
  return own ? e4m3(t, Rounding::toward_zero) : Scale(ref::e4m3_ggml(N(t)));
}
Scale e8m0(Number a, int shift, Rounding rounding) {
  const bool other = is(Wrong::scale_truncates) || is(Wrong::scale_ties_away);
  const Rounding wrong_rounding =
      rounding == Rounding::toward_zero ? Rounding::ties_away : Rounding::toward_zero;
  return Scale(ref::e8m0(N(a), shift, other ? wrong_rounding : rounding));
}

Rounding element_rounding() {
  return is(Wrong::element_ties_away)   ? Rounding::ties_away
         : is(Wrong::element_truncates) ? Rounding::toward_zero
                                        : Rounding::nearest_even;
}
Code e2m1_magnitude(Number y) {
  return Code(ref::encode(abs(y).value, {.format = Format::e2m1, .rounding = element_rounding()}));
}
Code e2m1_satfinite(Number y) {
  if (is(Wrong::loses_sign_of_zero) && y == Number(0)) return Code(0);
  return Code(ref::encode(y.value, {.format = Format::e2m1, .rounding = element_rounding()}));
}
Code negative(Number y) { return ref::negative(N(y)); }

/// Wrong as e2m1_magnitude is.
Code e2m1_nearest_first(Number x, Number d) {
  if (element_rounding() == Rounding::nearest_even) return ref::e2m1_nearest_first(N(x), N(d));
  return Code(e2m1_magnitude(x / d).bits | negative(x).bits);
}
Code e2m1_from_bf16(Number y) {
  if (element_rounding() == Rounding::nearest_even) return ref::e2m1_from_bf16(N(y));
  return Code(e2m1_magnitude(y).bits | negative(y).bits);
}

/// The quantizer keeps its own numbers; the dialect's steps see twisted ones.
template <class D>
struct Mutant : D {
  static auto tensor(ref::Number amax, const Setting& setting) { return D::tensor(Number(amax), setting); }
  static BlockScale<ref::Number> handed_on(BlockScale<Number> scale) { return {scale.code, N(scale.encode)}; }

  template <class Tensor, class Elements>
  requires requires(Number amax, const Tensor& tensor) { D::block(amax, tensor); }
  static BlockScale<ref::Number> block(ref::Number amax, const Tensor& tensor, const Elements&) {
    return handed_on(D::block(Number(amax), tensor));
  }
  template <class Tensor, class Elements>
  static BlockScale<ref::Number> block(ref::Number amax, const Tensor& tensor, const Elements& x) {
    struct Twisted {
      const Elements& x;
      int rows;
      Number operator()(int r, int j) const { return Number(x(r, j)); }
    };
    return handed_on(D::block(Number(amax), tensor, Twisted{x, x.rows}));
  }
  template <class Tensor>
  static Code element(ref::Number x, ref::Number encode, const Tensor& tensor) {
    return D::element(Number(x), Number(encode), tensor);
  }
  template <class Tensor>
  static ref::Number scaled(ref::Number x, ref::Number encode, const Tensor& tensor) {
    return N(D::scaled(Number(x), Number(encode), tensor));
  }
};

}  // namespace twisted

namespace {

using twisted::Wrong;

BlockScaledTensor mutated(const Dialect& dialect, Wrong wrong, MatrixView x) {
  static constexpr auto quantize =
      Dialects::table([]<class D>(D) { return reference::quantize_as<twisted::Mutant<D>>; });
  twisted::wrong = wrong;
  BlockScaledTensor made = quantize[index_of(dialect)](x, default_spec(dialect));
  twisted::wrong = Wrong::nothing;
  return made;
}

/// The primitives that the dialect asks for.
std::vector<Wrong> those_met(const Dialect& dialect) {
  twisted::met = {};
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16})
    for (const Case& c : make_cases("ties", dtype, 0)) mutated(dialect, Wrong::nothing, c.input.view());
  std::vector<Wrong> all;
  for (std::size_t i = 1; i < twisted::met.size(); ++i)
    if (twisted::met[i]) all.push_back(static_cast<Wrong>(i));
  return all;
}

/// What can change no byte, and why.
bool is_equivalent(const Dialect& dialect, Wrong wrong) {
  using namespace dialects;
  const auto one_of = [&](auto... infos) { return ((&dialect == infos) || ...); };
  switch (wrong) {
    case Wrong::divides_by_reciprocal:  // 1 / x is all that they divide
      return one_of(&vllm::info, &trtllm::info, &flashinfer::info, &flashinfer_exact::info,
                    &flashinfer_4over6::info, &vllm_emulation::info, &auto_round::info, &mxfp4_floor::info,
                    &mxfp4_ceil::info, &mxfp4_nearest::info, &mxfp4_unbiased::info, &mxfp8_floor::info,
                    &mxfp8_ceil::info);
    case Wrong::exact_rcp: return one_of(&cutlass_epilogue::info);  // proven below
    case Wrong::minimum_takes_nan:  // their amaxes drop NaN, and no 0 meets an infinity
      return one_of(&te::info, &te_fast_math::info, &te_4over6::info, &te_scale_up::info, &paper::info,
                    &flashinfer_per_token_exact::info, &flashinfer_4over6_per_token_exact::info);
    case Wrong::scale_wraps_nan:  // for the same reason; mlx gives NaN a code of its own
      return one_of(&te::info, &te_fast_math::info, &te_4over6::info, &te_scale_up::info, &te_fsdp::info,
                    &paper::info, &flashinfer_per_token_exact::info, &flashinfer_4over6_per_token_exact::info,
                    &cudnn::info, &mlx::info, &mlx_single_level::info);
    default: return false;
  }
}

bool caught(const Dialect& dialect, Wrong wrong) {
  for (const std::string_view pack : {"witnesses", "nonfinite", "zeros", "ties", "subnormals", "random"})
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16})
      for (const Case& c : make_cases(pack, dtype, 0)) {
        const auto made = cpu_kernels().quantize(c.input.view(), default_spec(dialect), {});
        if (!compare(made, mutated(dialect, wrong, c.input.view())).equal()) return true;
      }
  return false;
}

}  // namespace

TEST_SUITE("sweep") {
  TEST_CASE("primitive mutants: the twisted quantizer is the true one while nothing is wrong") {
    for (const Dialect* dialect : all_dialects()) CHECK_FALSE(caught(*dialect, Wrong::nothing));
  }

  TEST_CASE("primitive mutants: every one is caught in every dialect whose bytes it can change") {
    for (const Dialect* dialect : all_dialects())
      for (const Wrong wrong : those_met(*dialect)) {
        CAPTURE(dialect->name);
        CAPTURE(twisted::names[static_cast<std::size_t>(wrong)]);
        CHECK(caught(*dialect, wrong) != is_equivalent(*dialect, wrong));
      }
  }
}

TEST_CASE("primitive mutants: CUTLASS' scales and 6 have reciprocals that rcp.approx gives exactly") {
  for (std::uint32_t code = 1; code < 0x7F; ++code) {
    const reference::Number scale(reference::decode(code, Format::e4m3));
    CHECK(reference::rcp_approx_ftz(scale) == reference::Number(1) / scale);
  }
  CHECK(reference::rcp_approx_ftz(reference::Number(6)) == reference::Number(1) / reference::Number(6));
}
