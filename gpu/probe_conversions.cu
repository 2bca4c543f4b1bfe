#include <tuple>

#include "check.hpp"
#include "device.hpp"
#include "memory.hpp"
#include "probe_instructions.hpp"

#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__)
#define NVFP4_HAS_E2M1 \
  (__CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 10 || __CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 12)
#define NVFP4_HAS_RS (__CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 10)
#endif

namespace nvfp4::gpu {
namespace {

struct ToE2m1 {
  __device__ std::uint8_t operator()(const float* x) const {
    std::uint32_t bytes = 0;
#if NVFP4_HAS_E2M1
    asm("{ .reg .b8 t; cvt.rn.satfinite.e2m1x2.f32 t, %1, %2; mov.b32 %0, {t, t, t, t}; }"
        : "=r"(bytes)
        : "f"(x[0]), "f"(x[1]));
#endif
    return static_cast<std::uint8_t>(bytes);
  }
};

struct FromE2m1 {
  __device__ std::uint32_t operator()(const std::uint8_t* x) const {
    std::uint32_t halves = 0;
#if NVFP4_HAS_E2M1
    asm("{ .reg .b8 t; mov.b32 {t, _, _, _}, %1; cvt.rn.f16x2.e2m1x2 %0, t; }"
        : "=r"(halves)
        : "r"(static_cast<std::uint32_t>(*x)));
#endif
    return halves;
  }
};

struct ToE2m1Stochastic {
  __device__ std::uint16_t operator()(const float* x, std::uint32_t random) const {
    std::uint16_t codes = 0;
#if NVFP4_HAS_RS
    asm("cvt.rs.satfinite.e2m1x4.f32 %0, {%1, %2, %3, %4}, %5;"
        : "=h"(codes)
        : "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]), "r"(random));
#endif
    return codes;
  }
};

struct ToE4m3 {
  __device__ std::uint16_t operator()(const float* x) const {
    std::uint16_t codes = 0;
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(x[0]), "f"(x[1]));
#endif
    return codes;
  }
};

struct Reciprocal {
  __device__ float operator()(const float* x) const {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(*x));
    return y;
  }
};

template <class F, class In, class Out, class... More>
__global__ void each(F f, std::int64_t count, int width, const In* x, Out* y, const More*... more) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) y[i] = f(x + i * width, more[i]...);
}

/// f of each `width` inputs.
template <class Out, class F, class In, class... More>
std::vector<Out> all(F f, int width, std::span<const In> x, std::span<const More>... more) {
  const std::size_t count = x.size() / static_cast<std::size_t>(width);
  if (x.size() % static_cast<std::size_t>(width) || (... || (more.size() != count)))
    throw std::invalid_argument("a conversion takes whole groups of " + std::to_string(width));
  if (count == 0) return {};
  const DeviceArray<In> in(x);
  const DeviceArray<Out> out(count);
  const std::tuple<DeviceArray<More>...> others(more...);
  std::apply(
      [&](const auto&... other) {
        each<<<static_cast<unsigned>((count + 255) / 256), 256>>>(f, static_cast<std::int64_t>(count), width,
                                                                  in.data(), out.data(), other.data()...);
      },
      others);
  check_launch("a conversion");
  std::vector<Out> y(count);
  out.copy_to(y);
  return y;
}

void require(bool exists, const char* instruction) {
  if (!exists)
    throw std::invalid_argument(std::string(instruction) + ": this device has no such instruction");
}

}  // namespace

bool has_e2m1_conversions() {
  const int device = capability();
  return device == 100 || device == 103 || device / 10 == 12;
}
bool has_stochastic_conversions() {
  const int device = capability();
  return device == 100 || device == 103;
}

std::vector<std::uint8_t> cvt_rn_e2m1x2(std::span<const float> pairs) {
  require(has_e2m1_conversions(), "cvt.rn.satfinite.e2m1x2.f32");
  return all<std::uint8_t>(ToE2m1(), 2, pairs);
}

std::vector<std::uint16_t> cvt_f16x2_e2m1x2(std::span<const std::uint8_t> bytes) {
  require(has_e2m1_conversions(), "cvt.rn.f16x2.e2m1x2");
  std::vector<std::uint16_t> halves;
  for (const std::uint32_t both : all<std::uint32_t>(FromE2m1(), 1, bytes))
    for (const int shift : {0, 16}) halves.push_back(static_cast<std::uint16_t>(both >> shift));
  return halves;
}

std::vector<std::uint16_t> cvt_rs_e2m1x4(std::span<const float> fours,
                                         std::span<const std::uint32_t> random) {
  require(has_stochastic_conversions(), "cvt.rs.satfinite.e2m1x4.f32");
  return all<std::uint16_t>(ToE2m1Stochastic(), 4, fours, random);
}

std::vector<std::uint16_t> cvt_rn_e4m3x2(std::span<const float> pairs) {
  require(capability() >= 90, "cvt.rn.satfinite.e4m3x2.f32");
  return all<std::uint16_t>(ToE4m3(), 2, pairs);
}

std::vector<float> rcp_approx_ftz(std::span<const float> x) { return all<float>(Reciprocal(), 1, x); }

}  // namespace nvfp4::gpu
