#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <stdexcept>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

/// One test body over all layers: every table equals the reference's, byte for byte.
namespace {

constexpr Isa every_isa[] = {Isa::portable, Isa::avx2, Isa::avx512, Isa::amx};
constexpr Dtype every_dtype[] = {Dtype::fp32, Dtype::bf16, Dtype::fp16};

std::vector<const Kernels*> cpu_tables() {
  std::vector<const Kernels*> tables;
  for (const Isa isa : every_isa)
    if (const Kernels* kernels = cpu_kernels(isa))
      tables.push_back(kernels);
    else
      MESSAGE("not run: this machine has no ", name(isa));
  return tables;
}

/// Each dialect's own spec, and everything else that it can hold.
std::vector<QuantizeSpec> every_spec(const Dialect* dialect) {
  std::vector<QuantizeSpec> all(8, default_spec(*dialect)), valid;
  all[1].block = all[2].block = {16, 16};
  all[2].amax = 3.4e38f;
  all[3].tensor_scale = TensorScale::row;
  all[4].amax = 0.f;
  all[5].amax = 1e-3f;
  all[6].amax = std::numeric_limits<float>::infinity();
  all[7].four_over_six = {256, Select::mse, true};
  for (const QuantizeSpec& spec : all) try {
      validate(spec);
      valid.push_back(spec);
    } catch (const std::invalid_argument&) {
    }
  return valid;
}

/// What `verify` leaves out of its quick level runs here for the oldest dialects alone: the reference is slow.
bool is_worth(const Dialect& dialect, Dtype dtype, std::string_view pack) {
  if (dialect.name == "te" || dialect.name == "te_ref") return true;
  return dtype == Dtype::fp32 && pack == "subnormals";
}

void check_equal(const Case& c, const QuantizeSpec& spec, const std::vector<const Kernels*>& tables) {
  const BlockScaledTensor expected = reference_kernels().quantize(c.input.view(), spec, {});
  const Matrix values = reference_kernels().dequantize(expected);
  for (const Kernels* kernels : tables) {
    CAPTURE(c.name);
    CAPTURE(kernels->name);
    CAPTURE(spec.dialect->name);
    CAPTURE(name(c.input.dtype));
    CAPTURE(spec.block.rows);
    const Difference codes = compare(expected, kernels->quantize(c.input.view(), spec, {}));
    CHECK_MESSAGE(codes.equal(), describe(*codes.first));
    const Difference decoded = compare(values.view(), kernels->dequantize(expected).view(), "dequant");
    CHECK_MESSAGE(decoded.equal(), describe(*decoded.first));
  }
}

}  // namespace

TEST_CASE("every layer quantizes and dequantizes as the reference does" * doctest::test_suite("sweep")) {
  const auto tables = cpu_tables();
  for (const Dialect* dialect : all_dialects())
    for (const QuantizeSpec& spec : every_spec(dialect))
      for (const Dtype dtype : every_dtype)
        for (const std::string_view pack : case_packs())
          if (is_worth(*dialect, dtype, pack))
            for (const Case& c : make_cases(pack, dtype, 7)) check_equal(c, spec, tables);
}

TEST_CASE("all 65536 BF16 and FP16 inputs as block maxima and as elements" * doctest::test_suite("sweep")) {
  for (const Dtype dtype : {Dtype::bf16, Dtype::fp16}) {
    Case c{"all_codes", Matrix(256, 256, dtype)};
    for (int i = 0; i < 65536; ++i)
      c.input.u16()[i] = static_cast<std::uint16_t>(i * 40503);  // odd: a permutation
    for (const Dialect* dialect : all_dialects())
      for (const float amax : {6.f, 2688.f, 1e-30f}) {
        QuantizeSpec spec = default_spec(*dialect);
        if (!dialect->per_row) spec.amax = amax;
        if (dialect->name == "te" || (amax == 6 && dtype == Dtype::bf16)) check_equal(c, spec, cpu_tables());
      }
  }
}

TEST_CASE("amax is a step of its own: handed back in, it changes no byte") {
  for (const Dialect* dialect : all_dialects())
    for (const Dtype dtype : every_dtype)
      for (const std::string_view pack : {"nonfinite", "zeros", "ragged", "random"})
        for (const Case& c : make_cases(pack, dtype, 5)) {
          const float amax = reference_kernels().amax(c.input.view(), *dialect);
          for (const Kernels* kernels : cpu_tables()) {
            CHECK(std::bit_cast<std::uint32_t>(kernels->amax(c.input.view(), *dialect)) ==
                  std::bit_cast<std::uint32_t>(amax));
            if (std::isnan(amax) || dialect->per_row) continue;  // validate() refuses it
            QuantizeSpec spec = default_spec(*dialect);
            const auto whole = kernels->quantize(c.input.view(), spec, {});
            spec.amax = amax;
            CHECK(compare(whole, kernels->quantize(c.input.view(), spec, {})).equal());
          }
        }
}

TEST_CASE("threads change no byte") {
  const int before = threads();
  for (const Case& c : make_cases("ragged", Dtype::fp32, 0))
    for (const BlockShape block : {BlockShape{1, 16}, BlockShape{16, 16}}) {
      set_threads(1);
      const auto expected = cpu_kernels().quantize(c.input.view(), {.block = block}, {});
      for (const int n : {2, 7}) {
        set_threads(n);
        CHECK(compare(expected, cpu_kernels().quantize(c.input.view(), {.block = block}, {})).equal());
      }
    }
  set_threads(before);
}

TEST_CASE("donated memory changes no byte") {
  const Case large = make_cases("random", Dtype::fp32, 1)[0], small = make_cases("ragged", Dtype::fp32, 0)[3];
  const auto expected = cpu_kernels().quantize(small.input.view(), {}, {});
  auto used = cpu_kernels().quantize(large.input.view(), {.tensor_scale = TensorScale::row}, {});
  CHECK(compare(expected, cpu_kernels().quantize(small.input.view(), {}, std::move(used))).equal());
}

#if defined(__SSE2__)
TEST_CASE("the caller's rounding mode and flush-to-zero change no byte, and are left as they were") {
  for (const std::string_view pack : {"ties", "subnormals"})
    for (const Case& c : make_cases(pack, Dtype::fp32, 0))
      for (const Kernels* kernels : cpu_tables()) {
        const auto expected = reference_kernels().quantize(c.input.view(), {}, {});
        const unsigned saved = _mm_getcsr(), hostile = 0x1F80 | 0x8040 | 0x4000;  // FTZ, DAZ, round up
        _mm_setcsr(hostile);
        const auto actual = kernels->quantize(c.input.view(), {}, {});
        const auto of_reference = reference_kernels().quantize(c.input.view(), {}, {});
        const unsigned after = _mm_getcsr();
        _mm_setcsr(saved);
        CHECK((after & ~0x3Fu) == hostile);
        CHECK(compare(expected, actual).equal());
        CHECK(compare(expected, of_reference).equal());
      }
}
#endif

TEST_CASE("specs that no layer can follow are refused by all") {
  const Case c = make_cases("ragged", Dtype::fp32, 0)[0];
  const QuantizeSpec bad[] = {{.dialect = nullptr},
                              {.block = {1, 32}},
                              {.block = {16, 16}, .tensor_scale = TensorScale::row},
                              {.tensor_scale = TensorScale::row, .amax = 1.f},
                              {.amax = -1.f},
                              {.amax = std::numeric_limits<float>::quiet_NaN()}};
  for (const QuantizeSpec& spec : bad) {
    CHECK_THROWS_AS(reference_kernels().quantize(c.input.view(), spec, {}), std::invalid_argument);
    CHECK_THROWS_AS(cpu_kernels().quantize(c.input.view(), spec, {}), std::invalid_argument);
  }
}
