#include <algorithm>

#include "check.hpp"
#include "device.hpp"
#include "memory.hpp"
#include "probe_instructions.hpp"
#include "probe_mma.cuh"

namespace nvfp4::gpu {
namespace {

#define NVFP4_REGISTERS " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3}"
#define NVFP4_OPERANDS                      \
  "+r"(x.d[0]), "+r"(x.d[1]), "+r"(x.d[2]), \
      "+r"(x.d[3]) : "r"(x.a[0]), "r"(x.a[1]), "r"(x.a[2]), "r"(x.a[3]), "r"(x.b[0]), "r"(x.b[1])

/// What tells the m16n8 instructions apart: K, the bits of an element's container and the place of its code in it, the
/// scales of one instruction, and the words of PTX; EXISTS is of the GPU that is compiled for. E2M1 in a byte stands in
/// its bits 5:2 (PTX ISA; CUTLASS's fp4_shift_A).
#define NVFP4_DENSE(NAME, EXISTS, K, BITS, SHIFT, WORDS)                                                  \
  struct NAME {                                                                                           \
    static constexpr int k = K, bits = BITS, shift = SHIFT, scales = 0;                                   \
    static constexpr bool fp16 = false;                                                                   \
    static __device__ void issue([[maybe_unused]] Fragments& x) {                                         \
      if constexpr (EXISTS) asm volatile("mma.sync.aligned." WORDS NVFP4_REGISTERS ";" : NVFP4_OPERANDS); \
    }                                                                                                     \
  };
#define NVFP4_HALF(NAME, EXISTS, K, BITS, SHIFT, WORDS)                                               \
  struct NAME {                                                                                       \
    static constexpr int k = K, bits = BITS, shift = SHIFT, scales = 0;                               \
    static constexpr bool fp16 = true;                                                                \
    static __device__ void issue([[maybe_unused]] Fragments& x) {                                     \
      if constexpr (EXISTS)                                                                           \
        asm volatile("mma.sync.aligned." WORDS " {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"           \
                     : "+r"(x.d[0]), "+r"(x.d[1])                                                     \
                     : "r"(x.a[0]), "r"(x.a[1]), "r"(x.a[2]), "r"(x.a[3]), "r"(x.b[0]), "r"(x.b[1])); \
    }                                                                                                 \
  };
#define NVFP4_SCALED(NAME, K, BITS, SHIFT, SCALES, WORDS)                                      \
  struct NAME {                                                                                \
    static constexpr int k = K, bits = BITS, shift = SHIFT, scales = SCALES;                   \
    static constexpr bool fp16 = false;                                                        \
    static __device__ void issue([[maybe_unused]] Fragments& x) {                              \
      if constexpr (on_120)                                                                    \
        asm volatile("mma.sync.aligned." WORDS NVFP4_REGISTERS ", {%10}, {0,0}, {%11}, {0,0};" \
                     : NVFP4_OPERANDS, "r"(x.a_scales), "r"(x.b_scales));                      \
    }                                                                                          \
  };

#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 12
constexpr bool on_120 = true;
#else
constexpr bool on_120 = false;
#endif
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr bool on_90 = true;
#else
constexpr bool on_90 = false;
#endif

NVFP4_DENSE(Bf16, true, 16, 16, 0, "m16n8k16.row.col.f32.bf16.bf16.f32")
NVFP4_DENSE(Fp16, true, 16, 16, 0, "m16n8k16.row.col.f32.f16.f16.f32")
NVFP4_HALF(Fp16Half, true, 16, 16, 0, "m16n8k16.row.col.f16.f16.f16.f16")
NVFP4_DENSE(Tf32, true, 8, 32, 0, "m16n8k8.row.col.f32.tf32.tf32.f32")
NVFP4_DENSE(E4m3, on_90, 32, 8, 0, "m16n8k32.row.col.f32.e4m3.e4m3.f32")
NVFP4_DENSE(E5m2, on_90, 32, 8, 0, "m16n8k32.row.col.f32.e5m2.e5m2.f32")
NVFP4_DENSE(F8E4m3, on_120, 32, 8, 0, "m16n8k32.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32")
NVFP4_DENSE(F8E5m2, on_120, 32, 8, 0, "m16n8k32.row.col.kind::f8f6f4.f32.e5m2.e5m2.f32")
NVFP4_DENSE(F8E3m2, on_120, 32, 8, 0, "m16n8k32.row.col.kind::f8f6f4.f32.e3m2.e3m2.f32")
NVFP4_DENSE(F8E2m3, on_120, 32, 8, 0, "m16n8k32.row.col.kind::f8f6f4.f32.e2m3.e2m3.f32")
NVFP4_DENSE(F8E2m1, on_120, 32, 8, 2, "m16n8k32.row.col.kind::f8f6f4.f32.e2m1.e2m1.f32")
NVFP4_HALF(F8E4m3Half, on_120, 32, 8, 0, "m16n8k32.row.col.kind::f8f6f4.f16.e4m3.e4m3.f16")
NVFP4_HALF(F8E2m1Half, on_120, 32, 8, 2, "m16n8k32.row.col.kind::f8f6f4.f16.e2m1.e2m1.f16")
#define NVFP4_MX8 "m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.f32."
NVFP4_SCALED(Mx8E4m3, 32, 8, 0, 1, NVFP4_MX8 "e4m3.e4m3.f32.ue8m0")
NVFP4_SCALED(Mx8E5m2, 32, 8, 0, 1, NVFP4_MX8 "e5m2.e5m2.f32.ue8m0")
NVFP4_SCALED(Mx8E3m2, 32, 8, 0, 1, NVFP4_MX8 "e3m2.e3m2.f32.ue8m0")
NVFP4_SCALED(Mx8E2m3, 32, 8, 0, 1, NVFP4_MX8 "e2m3.e2m3.f32.ue8m0")
NVFP4_SCALED(Mx8E2m1, 32, 8, 2, 1, NVFP4_MX8 "e2m1.e2m1.f32.ue8m0")
NVFP4_SCALED(Mx4, 64, 4, 0, 2,
             "m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0")
NVFP4_SCALED(Mx4Nv, 64, 4, 0, 2,
             "m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0")
NVFP4_SCALED(Nv4, 64, 4, 0, 4,
             "m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3")

template <class I>
__global__ void probe(const ProbeTiles t) {
  const std::int64_t tile = blockIdx.x;
  const int row = threadIdx.x / 4, col = threadIdx.x % 4 * 2;
  Fragments x{};
  const auto each = [&](auto f) {
    for (int v = 0; v < 4; ++v)
      if (t.inside(row + v / 2 * 8, col + v % 2))
        f(x.d[I::fp16 ? v / 2 : v], I::fp16 ? v % 2 * 16 : 0, t.at(tile, row + v / 2 * 8, col + v % 2));
  };
  each([&](std::uint32_t& reg, int shift, std::int64_t at) { reg |= t.c[at] << shift; });
  for (int k = 0; k < t.k; k += I::k) {
    load<I>(x, t, tile, k, threadIdx.x);
    I::issue(x);
  }
  each([&](std::uint32_t& reg, int shift, std::int64_t at) {
    t.d[at] = I::fp16 ? reg >> shift & 0xFFFF : reg;
  });
}

template <class I>
void launch(const ProbeTiles& t, std::int64_t tiles) {
  probe<I><<<static_cast<unsigned>(tiles), 32>>>(t);
  check_launch("MMA probe");
}

bool of_100(int capability) { return capability == 100 || capability == 103; }
bool of_120(int capability) { return capability / 10 == 12; }
/// What this library has code for.
bool any(int capability) {
  return capability / 10 == 8 || capability == 90 || of_100(capability) || of_120(capability);
}
/// Where the compiler makes FP8 mma.sync of FP16 instructions; of sm_120 it is that of kind::f8f6f4.
bool fp8_by_fp16(int capability) { return capability == 90 || of_100(capability); }

struct Entry {
  MmaInstruction instruction;
  void (*launch)(const ProbeTiles&, std::int64_t);
};

template <class I>
constexpr Entry dense(std::string_view name, std::string_view model, Format element, bool (*exists)(int)) {
  return {{name, model, 16, 8, I::k, element, std::nullopt, 0, I::fp16, exists}, launch<I>};
}
template <class I>
constexpr Entry scaled(std::string_view name, std::string_view model, Format element, Format scale) {
  return {{name, model, 16, 8, I::k, element, scale, I::k / I::scales, false, of_120}, launch<I>};
}

using enum Format;
const Entry entries[] = {
    dense<Bf16>("m16n8k16.bf16", "bf16", bf16, any),
    dense<Fp16>("m16n8k16.f16", "fp16", fp16, any),
    dense<Fp16Half>("m16n8k16.f16 to f16", "fp16", fp16, any),
    dense<Tf32>("m16n8k8.tf32", "tf32", tf32, any),
    dense<E4m3>("m16n8k32.e4m3", "fp8_mma", e4m3, fp8_by_fp16),
    dense<E5m2>("m16n8k32.e5m2", "fp8_mma", e5m2, fp8_by_fp16),
    dense<F8E4m3>("m16n8k32.f8f6f4.e4m3", "f8f6f4", e4m3, of_120),
    dense<F8E5m2>("m16n8k32.f8f6f4.e5m2", "f8f6f4", e5m2, of_120),
    dense<F8E3m2>("m16n8k32.f8f6f4.e3m2", "f8f6f4", e3m2, of_120),
    dense<F8E2m3>("m16n8k32.f8f6f4.e2m3", "f8f6f4", e2m3, of_120),
    dense<F8E2m1>("m16n8k32.f8f6f4.e2m1", "f8f6f4", e2m1, of_120),
    dense<F8E4m3Half>("m16n8k32.f8f6f4.e4m3 to f16", "f8f6f4", e4m3, of_120),
    dense<F8E2m1Half>("m16n8k32.f8f6f4.e2m1 to f16", "f8f6f4", e2m1, of_120),
    scaled<Mx8E4m3>("m16n8k32.mxf8f6f4.e4m3", "mxf8f6f4", e4m3, e8m0),
    scaled<Mx8E5m2>("m16n8k32.mxf8f6f4.e5m2", "mxf8f6f4", e5m2, e8m0),
    scaled<Mx8E3m2>("m16n8k32.mxf8f6f4.e3m2", "mxf8f6f4", e3m2, e8m0),
    scaled<Mx8E2m3>("m16n8k32.mxf8f6f4.e2m3", "mxf8f6f4", e2m3, e8m0),
    scaled<Mx8E2m1>("m16n8k32.mxf8f6f4.e2m1", "mxf8f6f4", e2m1, e8m0),
    scaled<Mx4>("m16n8k64.mxf4.2X.ue8m0", "mxfp4", e2m1, e8m0),
    scaled<Mx4Nv>("m16n8k64.mxf4nvf4.2X.ue8m0", "mxfp4", e2m1, e8m0),
    scaled<Nv4>("m16n8k64.mxf4nvf4.4X.ue4m3", "nvfp4", e2m1, ue4m3),
    {{"tcgen05.m128n128k64.mxf4nvf4.block16", "nvfp4", 128, 128, 64, e2m1, ue4m3, 16, false, of_100},
     probe_tcgen05},
};

const Entry& entry_of(const MmaInstruction& instruction) {
  const auto found =
      std::ranges::find(entries, instruction.name, [](const Entry& e) { return e.instruction.name; });
  if (found == std::end(entries))
    throw std::invalid_argument("no such instruction: " + std::string(instruction.name));
  return *found;
}

void validate(const MmaInstruction& i, const MmaOperands& x) {
  const auto fail = [&](const char* what) { throw std::invalid_argument(std::string(i.name) + ": " + what); };
  if (!exists(i)) fail("this device has no such instruction");
  if (x.tiles < 1 || x.rows < 1 || x.cols < 1 || x.k < 1)
    fail("expected at least one tile, row, column and k");
  if (x.rows > i.rows || x.cols > i.cols) fail("tiles are larger than the instruction's");
  if (x.a_format != i.element || x.b_format != i.element) fail("takes elements of another format");
  if (x.scale != i.scale || (i.scale && x.block != i.block)) fail("takes block scales of another kind");
  const auto blocks = i.scale ? (x.k + i.block - 1) / i.block : 0;
  const auto holds = [&](auto span, std::int64_t rows, std::int64_t cols) {
    return static_cast<std::int64_t>(span.size()) == x.tiles * rows * cols;
  };
  if (!holds(x.a, x.rows, x.k) || !holds(x.b, x.cols, x.k) || !holds(x.c, x.rows, x.cols) ||
      !holds(x.a_scales, x.rows, blocks) || !holds(x.b_scales, x.cols, blocks))
    fail("operands must have the sizes of its shape");
}

DeviceArray<std::uint32_t> words(std::span<const std::uint64_t> codes) {
  return DeviceArray<std::uint32_t>(std::vector<std::uint32_t>(codes.begin(), codes.end()));
}

}  // namespace

std::span<const MmaInstruction> mma_instructions() {
  static const auto all = [] {
    std::vector<MmaInstruction> list;
    for (const Entry& e : entries) list.push_back(e.instruction);
    return list;
  }();
  return all;
}

bool exists(const MmaInstruction& instruction) { return instruction.exists(capability()); }

std::vector<std::uint64_t> run(const MmaInstruction& instruction, const MmaOperands& x) {
  validate(instruction, x);
  const auto a = words(x.a), b = words(x.b), c = words(x.c);
  const DeviceArray<std::uint8_t> a_scales(x.a_scales), b_scales(x.b_scales);
  const DeviceArray<std::uint32_t> d(x.c.size());
  entry_of(instruction)
      .launch({static_cast<int>(x.rows), static_cast<int>(x.cols), static_cast<int>(x.k), instruction.block,
               a.data(), b.data(), c.data(), a_scales.data(), b_scales.data(), d.data()},
              x.tiles);
  std::vector<std::uint32_t> codes(x.c.size());
  d.copy_to(codes);
  return {codes.begin(), codes.end()};
}

}  // namespace nvfp4::gpu
