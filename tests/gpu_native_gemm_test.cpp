// The native GEMMs of gpu/ on emulated hardware: the kernels' own bodies, bit by bit against the CPU.
#include <doctest/doctest.h>

#include <algorithm>
#include <ostream>

#include "gpu/probe_tcgen05.cuh"
#include "tests/adversary.hpp"
#include "tests/emulated_sm100.hpp"
#include "tests/emulated_sm120.hpp"

using namespace nvfp4;

namespace {

struct Shape {
  std::int64_t m, n, k;
};
std::ostream& operator<<(std::ostream& os, const Shape& s) {
  return os << s.m << " x " << s.n << " x " << s.k;
}

/// wide: scales of all magnitudes, subnormal and zero ones, signs in bit 7. near: of few binades, so that sums are long.
/// poisoned: wide, and some NaN.
enum class Data { wide, near, poisoned };

/// Random codes and scales.
BlockScaledTensor operand(std::int64_t rows, std::int64_t k, Data data, std::mt19937& random) {
  BlockScaledTensor x{.spec = {}, .rows = rows, .cols = k};
  x.codes.resize(static_cast<std::size_t>(rows * x.row_bytes()));
  x.scales.resize(static_cast<std::size_t>(rows * x.blocks_per_row()));
  x.global = {1};
  for (std::uint8_t& codes : x.codes) codes = static_cast<std::uint8_t>(random());
  for (std::uint8_t& scale : x.scales) {
    const bool nan = data == Data::poisoned && random() % 64 == 0;
    const auto any = static_cast<std::uint8_t>(random());
    scale = nan ? 0x7F : data == Data::near ? 0x30 + any % 16 : (any & 0x7F) == 0x7F ? 0 : any;
  }
  return x;
}

constexpr std::uint8_t nan_scale = 0x7F;

/// The 128x4 order, written out: rows in panels of 128, 4 scales of K each, a row's 16 bytes holding rows r, r + 32,
/// r + 64 and r + 96. Rows that are not there have NaN scales, and columns this byte.
std::vector<std::uint8_t> tiled(const BlockScaledTensor& x, std::uint8_t pad) {
  const std::int64_t blocks = x.blocks_per_row(), steps = (blocks + 3) / 4, panels = (x.rows + 127) / 128;
  std::vector<std::uint8_t> bytes;
  for (std::int64_t i = 0; i < panels * steps * 512; ++i) {
    const std::int64_t panel = i / 512 / steps, step = i / 512 % steps;
    const std::int64_t row = panel * 128 + i % 512 / 16 + i % 16 / 4 * 32, block = step * 4 + i % 4;
    const bool there = row < x.rows && block < blocks;
    bytes.push_back(there            ? x.scales[static_cast<std::size_t>(row * blocks + block)]
                    : block < blocks ? nan_scale
                                     : pad);
  }
  return bytes;
}

/// At an address that is a multiple of 16 and no more.
class Aligned {
 public:
  explicit Aligned(const std::vector<std::uint8_t>& x) : words_(x.size() / 16 + 3), size_(x.size()) {
    std::memcpy(words_[1].bytes, x.data(), x.size());
  }
  emulated::Bytes bytes() const { return {words_[1].bytes, size_}; }

 private:
  struct alignas(16) Word {
    std::uint8_t bytes[16];
  };
  std::vector<Word> words_;
  std::size_t size_;
};

/// A GEMM, its operands as a kernel wants them, and what the CPU makes of it.
class Given {
 public:
  Given(Shape s, Data data, ScaleLayout layout, std::uint8_t pad, unsigned seed) : random_(seed) {
    const BlockScaledTensor a = operand(s.m, s.k, data, random_), b = operand(s.n, s.k, data, random_);
    expected = cpu_kernels().multiply(a, b, *find_accumulation("sm100_nvfp4"), {});
    const bool linear = layout == ScaleLayout::linear;
    for (const auto& x :
         {a.codes, b.codes, linear ? a.scales : tiled(a, pad), linear ? b.scales : tiled(b, pad)})
      arrays_.emplace_back(x);
    for (const Aligned& x : arrays_) global.arrays.push_back(x.bytes());
    gemm = {.m = s.m, .n = s.n, .k = s.k, .layout = layout};
    gemm.a = arrays_[0].bytes().data(), gemm.b = arrays_[1].bytes().data();
    gemm.a_scales = arrays_[2].bytes().data(), gemm.b_scales = arrays_[3].bytes().data();
  }

  /// Runs every block on a machine made by `make`.
  template <class Make>
  void run(int rows, int cols, Make make) {
    emulated::Result result(gemm.m, gemm.n);
    const std::int64_t blocks = (gemm.m + rows - 1) / rows * ((gemm.n + cols - 1) / cols);
    for (std::int64_t block = 0; block < blocks; ++block) {
      auto machine = make(result, static_cast<unsigned>(random_()));
      machine.run(gemm, block);
    }
    CHECK(result.complete());
    CHECK((result.d.bytes == expected.bytes));
  }

  gpu::NativeGemm gemm;
  emulated::Global global{};
  Matrix expected;

 private:
  std::mt19937 random_;
  std::vector<Aligned> arrays_{};
};

void run_sm120(Shape s, Data data, ScaleLayout layout, emulated::Arrival arrival) {
  CAPTURE(s);
  CAPTURE(static_cast<int>(data));
  Given given(s, data, layout, nan_scale, 7);
  given.run(128, 128, [&](emulated::Result& d, unsigned seed) {
    return emulated::Sm120(d, given.global, arrival, seed);
  });
}

/// tcgen05 has no register in which to mask scales: padding along K is 0.
template <int n>
void run_sm100(Shape s, Data data, unsigned seed) {
  CAPTURE(s);
  CAPTURE(static_cast<int>(data));
  Given given(s, data, ScaleLayout::tiled_128x4, 0, seed);
  given.run(128, n,
            [&](emulated::Result& d, unsigned own) { return emulated::Sm100<n>(d, given.global, own); });
}

/// An MMA probe's tiles in the host's memory, with what the CPU makes of them.
struct Probed {
  Probed(const MmaOperands& x, const Accumulation& model)
      : a(x.a.begin(), x.a.end()),
        b(x.b.begin(), x.b.end()),
        c(x.c.begin(), x.c.end()),
        d(x.c.size()),
        expected(cpu_kernels().mma(x, model, false)) {
    tiles = {static_cast<int>(x.rows),
             static_cast<int>(x.cols),
             static_cast<int>(x.k),
             x.block,
             a.data(),
             b.data(),
             c.data(),
             x.a_scales.data(),
             x.b_scales.data(),
             d.data()};
  }
  bool equal() const { return std::ranges::equal(d, expected); }

  std::vector<std::uint32_t> a, b, c, d;
  std::vector<std::uint64_t> expected;
  gpu::ProbeTiles tiles;
};

/// One m16n8k64 with 4 scales, as the probe of it has them.
struct Nvfp4Fragments {
  static constexpr int k = 64, bits = 4, shift = 0, scales = 4;
};

constexpr Shape ragged[] = {{1, 1, 32},     {3, 5, 96},     {16, 8, 64},    {128, 128, 128}, {129, 127, 160},
                            {70, 200, 288}, {140, 36, 544}, {33, 130, 416}, {100, 258, 32},  {1100, 9, 64}};

}  // namespace

TEST_SUITE("native GEMM") {
  TEST_CASE("mma.sync under 128x4 scales: each output once with the CPU's bits") {
    for (const Shape& s : ragged)
      for (const auto arrival : {emulated::Arrival::at_issue, emulated::Arrival::at_last_wait})
        for (const Data data : {Data::wide, Data::near, Data::poisoned})
          run_sm120(s, data, ScaleLayout::tiled_128x4, arrival);
  }

  TEST_CASE("mma.sync under linear scales") {
    for (const Shape& s : {Shape{1, 1, 64}, {129, 127, 192}, {70, 131, 320}, {128, 128, 640}})
      for (const auto arrival : {emulated::Arrival::at_issue, emulated::Arrival::at_last_wait})
        run_sm120(s, Data::wide, ScaleLayout::linear, arrival);
  }

  TEST_CASE("tcgen05: 128 and 256 columns under random orders of threads and copies and multiplications") {
    for (const Shape& s : ragged)
      for (const Data data : {Data::wide, Data::near, Data::poisoned})
        run_sm100<128>(s, data, 11), run_sm100<256>(s, data, 12);
  }

  TEST_CASE("tcgen05: every length of the ring's last lap") {
    for (std::int64_t tiles = 1; tiles <= 15; ++tiles)
      for (unsigned seed = 0; seed < 3; ++seed)
        run_sm100<128>({2, 3, 256 * tiles}, Data::near, seed),
            run_sm100<256>({2, 3, 256 * tiles - 32}, Data::near, seed);
  }

  TEST_CASE("mma.sync: shared memory is as TMA's SWIZZLE_64B would leave it") {
    for (int at = 0; at < 8192; at += 16)
      CHECK(static_cast<int>(gpu::sm120::chunk_at(at / 64, at / 16 % 4)) == (at ^ (at >> 3 & 0x30)));
  }

  TEST_CASE("the probe of tcgen05: any C and chains and tiles of any size") {
    adversary::Adversary adversary(5);
    const Accumulation& model = *find_accumulation("sm100_nvfp4");
    for (const Shape& s : {Shape{1, 1, 64}, {128, 128, 64}, {37, 100, 128}, {128, 5, 80}}) {
      CAPTURE(s);
      Probed probed(adversary.operands(model, Format::e2m1, 1, s.k, s.m, s.n), model);
      const emulated::Global none;
      emulated::Result unused(0, 0);
      emulated::Sm100<128> machine(unused, none, 3);
      machine.run(gpu::probe_sm100::side, [&] { gpu::probe_sm100::multiply_tile(machine, probed.tiles, 0); });
      CHECK(probed.equal());
    }
  }

  TEST_CASE("the probe of mma.sync: fragments of m16n8k64") {
    adversary::Adversary adversary(6);
    const Accumulation& model = *find_accumulation("sm120_nvfp4");
    for (int round = 0; round < 20; ++round) {
      Probed probed(adversary.operands(model, Format::e2m1, 1, 64, 16, 8), model);
      std::array<gpu::Fragments, 32> registers{};
      std::array<emulated::Lane, 32> lanes{};
      std::array<float, 128> acc{};
      for (std::size_t l = 0; l < 32; ++l) {
        gpu::Fragments& x = registers[l];
        gpu::load<Nvfp4Fragments>(x, probed.tiles, 0, 0, static_cast<int>(l));
        for (std::size_t v = 0; v < 4; ++v)
          acc[4 * l + v] = std::bit_cast<float>(probed.tiles.c[emulated::row_major(l, v)]);
        lanes[l] = {.acc = &acc[4 * l], .a = x.a, .b = x.b, .a_scales = x.a_scales, .b_scales = x.b_scales};
      }
      emulated::multiply(lanes);
      for (std::size_t l = 0; l < 32; ++l)
        for (std::size_t v = 0; v < 4; ++v)
          probed.d[emulated::row_major(l, v)] = std::bit_cast<std::uint32_t>(acc[4 * l + v]);
      CHECK(probed.equal());
    }
  }

#ifdef NVFP4_WITH_GPU
  TEST_CASE("what each native kernel takes") {
    using enum gpu::NativeKernel;
    const auto taken = [](gpu::NativeKernel kernel, std::int64_t k, ScaleLayout layout, int capability) {
      return gpu::takes(kernel, {.m = 5, .n = 8, .k = k, .layout = layout}, capability);
    };
    constexpr ScaleLayout tiled = ScaleLayout::tiled_128x4, linear = ScaleLayout::linear;
    for (const int capability : {80, 90, 100, 103, 110, 120, 121}) {
      CAPTURE(capability);
      const bool tcgen05 = capability == 100 || capability == 103, mma_sync = capability / 10 == 12;
      CHECK_FALSE(taken(none, 64, tiled, capability));
      CHECK(taken(sm100, 96, tiled, capability) == tcgen05);
      CHECK(taken(sm120, 96, tiled, capability) == mma_sync);
      CHECK(taken(sm120, 128, linear, capability) == mma_sync);
      CHECK(taken(cublaslt, 96, tiled, capability) == (capability >= 100));
      CHECK_FALSE(taken(sm120, 96, linear, capability));
      for (const auto kernel : {sm100, sm120, cublaslt}) {
        CHECK_FALSE(taken(kernel, 80, tiled, capability));
        CHECK_FALSE(taken(kernel, 0, tiled, capability));
        CHECK_FALSE(taken(kernel, 64, ScaleLayout::tiled_8x4, capability));
      }
    }
  }
#endif

  TEST_CASE("tcgen05: the instruction descriptor is CUTLASS's") {
    CHECK(gpu::sm100::instruction(128) == 0x08200480);
    CHECK(gpu::sm100::instruction(256) == 0x08400480);
  }
}
