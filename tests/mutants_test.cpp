#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "reference/quantizer.hpp"
#include "tests/one_nan.hpp"

using namespace nvfp4;

/// Deliberately wrong twins of the dialects. The golden files and the named inputs must tell every one of
/// them from the true dialect; a mutant that survives means a comparison that cannot fail.
namespace {

using dialects::te;
using dialects::te_ref;
using reference::Number;

// Mutants of the tensor and block steps; Base is te or te_ref, whose other steps they keep.

template <class Base>
struct SixthFoldedElsewhere : Base {  // (amax / 6) * S_enc: the paper's order
  template <class F>
  static BlockScale<F> block(F amax, const typename Base::template Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite((amax / F(6)) * (F(1) / tensor.decode));
    return {scale.code, min_nan(F(1) / (scale.value * tensor.decode), F(flt_max))};
  }
};

template <class Base>
struct DividesByTheSixth : Base {  // S_enc / 6 for S_enc * FP32(1/6)
  template <class F>
  static typename Base::template Tensor<F> tensor(F amax, const Setting& setting) {
    auto tensor = Base::tensor(amax, setting);
    tensor.multiplier = (F(1) / tensor.decode) / F(6);
    return tensor;
  }
};

template <class Base>
struct LosesTensorClamp : Base {  // 2688 / amax may be infinite
  template <class F>
  static typename Base::template Tensor<F> tensor(F amax, const Setting&) {
    return te::of_encode(amax, F(2688) / amax);
  }
};

template <class Base>
struct LosesElementClamp : Base {  // 1 / 0 stays infinite: a zero under a zero scale becomes NaN
  template <class F>
  static BlockScale<F> block(F amax, const typename Base::template Tensor<F>& tensor) {
    const auto scale = Base::block(amax, tensor);
    const auto value = e4m3_satfinite(min_nan(amax * tensor.multiplier, F(flt_max))).value;
    return {scale.code, F(1) / (value * tensor.decode)};
  }
};

template <class Base>
struct NoInverseOfTheInverse : Base {  // S_enc / scale for 1 / (scale * S_dec)
  template <class F>
  static BlockScale<F> block(F amax, const typename Base::template Tensor<F>& tensor) {
    const auto value = e4m3_satfinite(min_nan(amax * tensor.multiplier, F(flt_max))).value;
    return {Base::block(amax, tensor).code, min_nan((F(1) / tensor.decode) / value, F(flt_max))};
  }
};

template <class Base>
struct NeverBelowTheSmallestScale : Base {  // ModelOpt's clamp
  template <class F>
  static BlockScale<F> block(F amax, const typename Base::template Tensor<F>& tensor) {
    const auto scale = Base::block(amax, tensor);
    if (scale.code.bits != 0) return scale;
    return {typename F::Code(1), F(1) / (F(0x1p-9f) * tensor.decode)};
  }
};

template <class Base>
struct WrongDivisor : Base {  // 1536, the divisor of four-over-six
  template <class F>
  static typename Base::template Tensor<F> tensor(F amax, const Setting& setting) {
    return Base::tensor(amax * F(1.75f), setting);
  }
};

// Mutants of the element step.

template <class Base>
struct DividesElements : Base {  // x / (scale * S_dec) for x * its reciprocal
  template <class F>
  static typename F::Code element(F x, F encode, const typename Base::template Tensor<F>& tensor) {
    return Base::element(x / (F(1) / encode), F(1), tensor);
  }
};

template <class Base>
struct TiesAway : Base {
  template <class F>
  static typename F::Code element(F x, F encode, const typename Base::template Tensor<F>& tensor) {
    const auto code = reference::encode((x * encode).value, {.rounding = Rounding::ties_away});
    const auto even = Base::element(x, encode, tensor);
    return typename F::Code((even.bits & 8) | (code & 7));
  }
};

template <class Base>
struct Truncates : Base {
  template <class F>
  static typename F::Code element(F x, F encode, const typename Base::template Tensor<F>& tensor) {
    const auto code = reference::encode((x * encode).value, {.rounding = Rounding::toward_zero});
    return typename F::Code((Base::element(x, encode, tensor).bits & 8) | (code & 7));
  }
};

template <class Base>
struct OtherSignOfZero : Base {  // the sign bit where the producer compares with 0, and the reverse
  template <class F>
  static typename F::Code element(F x, F encode, const typename Base::template Tensor<F>& tensor) {
    const bool kept = Base::element(F(-0.f), F(1), tensor).bits == 8;
    const auto code = Base::element(x, encode, tensor);
    return x == F(0) ? (kept ? typename F::Code(0) : e2m1_satfinite(x)) : code;
  }
};

template <class Base>
struct OtherNan : Base {
  static constexpr Dialect info = [] {
    Dialect other = Base::info;
    other.nan_in_tensor_amax = other.nan_in_block_amax = !other.nan_in_block_amax;
    return other;
  }();
};

template <class Base>
struct OtherNanCode : Base {
  template <class F>
  static typename F::Code element(F x, F encode, const typename Base::template Tensor<F>& tensor) {
    const F y = x * encode;
    return is_nan(y) ? typename F::Code(8) : Base::element(x, encode, tensor);
  }
};

using Quantize = BlockScaledTensor (*)(MatrixView, const QuantizeSpec&);

struct Mutant {
  std::string name;
  Quantize of_te, of_te_ref;
};

template <template <class> class M>
Mutant mutant(std::string name) {
  return {std::move(name), reference::quantize_as<M<te>>, reference::quantize_as<M<te_ref>>};
}

// Mutants of what surrounds a dialect.

BlockScaledTensor swapped_nibbles(MatrixView x, const QuantizeSpec& spec) {
  auto t = reference_kernels().quantize(x, spec, {});
  repack(t.codes, Packing::low_first, Packing::high_first);
  return t;
}

BlockScaledTensor block_off_by_one(MatrixView x, const QuantizeSpec& spec) {
  auto t = reference_kernels().quantize(x, spec, {});
  std::rotate(t.scales.begin(), t.scales.begin() + 1, t.scales.end());
  return t;
}

BlockScaledTensor inverted_global(MatrixView x, const QuantizeSpec& spec) {
  auto t = reference_kernels().quantize(x, spec, {});
  for (float& g : t.global) g = 2688 / g;
  return t;
}

std::vector<Mutant> mutants() {
  return {mutant<SixthFoldedElsewhere>("sixth folded elsewhere"),
          mutant<DividesByTheSixth>("divides by 6"),
          mutant<LosesTensorClamp>("loses the clamp of 2688 / amax"),
          mutant<LosesElementClamp>("loses the clamp of the reciprocal"),
          mutant<NoInverseOfTheInverse>("S_enc / scale"),
          mutant<NeverBelowTheSmallestScale>("no zero scales"),
          mutant<WrongDivisor>("divisor 1536"),
          mutant<DividesElements>("divides elements"),
          mutant<TiesAway>("ties away"),
          mutant<Truncates>("truncates"),
          mutant<OtherSignOfZero>("other sign of zero"),
          mutant<OtherNan>("other NaN in amax"),
          mutant<OtherNanCode>("other NaN code"),
          {"swapped nibbles", swapped_nibbles, swapped_nibbles},
          {"scale of the next block", block_off_by_one, block_off_by_one},
          {"inverted global", inverted_global, inverted_global}};
}

bool named_inputs_catch(Quantize wrong, const Dialect& dialect) {
  const QuantizeSpec spec{.dialect = &dialect};
  for (const std::string_view pack : case_packs())
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16})
      for (const Case& c : make_cases(pack, dtype, 7))
        if (!compare(cpu_kernels().quantize(c.input.view(), spec, {}), wrong(c.input.view(), spec)).equal())
          return true;
  return false;
}

bool golden_files_catch(Quantize wrong) {
  const std::string folder = NVFP4_GOLDEN_DIR;
  const QuantizeSpec spec{.dialect = &te_ref::info};
  for (const std::string dtype : {"fp32", "bf16"}) {
    const auto golden = io::open_arrays(folder + "/te_ref_1d/" + dtype + ".npz");
    const auto inputs = io::open_arrays(folder + "/inputs/inputs_" + dtype + ".npz");
    for (const io::GoldenCase& c : io::golden_cases(*golden)) {
      const Matrix x = io::golden_input(*inputs, c.name);
      const BlockScaledTensor true_bytes = io::read_tensor(*golden, c.name + "/", spec, x.rows, x.cols);
      if (!compare(one_nan(true_bytes), one_nan(wrong(x.view(), spec))).equal()) return true;
    }
  }
  return false;
}

}  // namespace

TEST_SUITE("golden") {
  TEST_CASE("the true dialects are not taken for mutants") {
    CHECK_FALSE(named_inputs_catch(reference::quantize_as<te>, te::info));
    CHECK_FALSE(named_inputs_catch(reference::quantize_as<te_ref>, te_ref::info));
    CHECK_FALSE(golden_files_catch(reference::quantize_as<te_ref>));
  }

  TEST_CASE(
      "every mutant of te and te_ref is caught by the named inputs, and of te_ref by the golden files") {
    for (const Mutant& m : mutants()) {
      CAPTURE(m.name);
      CHECK(named_inputs_catch(m.of_te, te::info));
      CHECK(named_inputs_catch(m.of_te_ref, te_ref::info));
      CHECK(golden_files_catch(m.of_te_ref));
    }
  }
}
