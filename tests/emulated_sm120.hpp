#pragma once
#include <array>
#include <optional>

#include "gpu/native_gemm_sm120.cuh"
#include "tests/emulated_memory.hpp"
#include "tests/fibers.hpp"

namespace emulated {

/// When cp.async writes: as soon as it may, or as late.
enum class Arrival { at_issue, at_last_wait };

/// A layout as CuTe writes it, shapes and strides, first mode fastest.
struct Mode {
  std::size_t size, stride;
};
constexpr std::size_t position(std::size_t i, std::initializer_list<Mode> modes) {
  std::size_t at = 0;
  for (const Mode& m : modes) at += i % m.size * m.stride, i /= m.size;
  return at;
}

/// The fragments of mma.m16n8k64 as MMA_Traits<SM120_16x8x64_TN_VS> has them: from lane and value to row + rows * k.
constexpr std::size_t a_position(std::size_t lane, std::size_t v) {
  return position(lane, {{4, 128}, {8, 1}}) + position(v, {{8, 16}, {2, 8}, {2, 512}});
}
constexpr std::size_t b_position(std::size_t lane, std::size_t v) {
  return position(lane, {{4, 64}, {8, 1}}) + position(v, {{8, 8}, {2, 256}});
}
constexpr std::size_t c_position(std::size_t lane, std::size_t v) {
  return position(lane, {{4, 32}, {8, 1}}) + position(v, {{2, 16}, {2, 8}});
}
constexpr std::size_t a_scale_row(std::size_t lane) { return position(lane, {{2, 8}, {2, 0}, {8, 1}}); }
constexpr std::size_t b_scale_col(std::size_t lane) { return position(lane, {{4, 0}, {8, 1}}); }

/// What a lane gives to an instruction of its warp.
struct Lane {
  std::uint32_t at = 0, *regs = nullptr;
  float* acc = nullptr;
  const std::uint32_t *a = nullptr, *b = nullptr;
  std::uint32_t a_scales = 0, b_scales = 0;
};

inline std::size_t row_major(std::size_t lane, std::size_t v) {
  return c_position(lane, v) % 16 * 8 + c_position(lane, v) / 16;
}
inline std::uint8_t byte(std::uint32_t word, std::size_t j) {
  return static_cast<std::uint8_t>(word >> 8 * j);
}

/// The instruction of a warp.
inline void multiply(std::array<Lane, 32>& lanes) {
  Instruction x(16, 8);
  const auto nibble = [](const std::uint32_t* regs, std::size_t v) { return regs[v / 8] >> v % 8 * 4 & 15; };
  for (std::size_t l = 0; l < 32; ++l) {
    for (std::size_t v = 0; v < 32; ++v)
      x.a[a_position(l, v) % 16 * 64 + a_position(l, v) / 16] = nibble(lanes[l].a, v);
    for (std::size_t v = 0; v < 16; ++v)
      x.b[b_position(l, v) % 8 * 64 + b_position(l, v) / 8] = nibble(lanes[l].b, v);
    for (std::size_t v = 0; v < 4; ++v) x.c[row_major(l, v)] = std::bit_cast<std::uint32_t>(lanes[l].acc[v]);
    for (std::size_t j = 0; j < 4; ++j) {  // the selectors are 0
      if (l / 2 % 2 == 0) x.a_scales[a_scale_row(l) * 4 + j] = byte(lanes[l].a_scales, j);
      if (l % 4 == 0) x.b_scales[b_scale_col(l) * 4 + j] = byte(lanes[l].b_scales, j);
    }
  }
  const auto d = x.result();
  for (std::size_t l = 0; l < 32; ++l)
    for (std::size_t v = 0; v < 4; ++v)
      lanes[l].acc[v] = std::bit_cast<float>(static_cast<std::uint32_t>(d[row_major(l, v)]));
}

class Sm120 {
 public:
  Sm120(Result& d, const Global& global, Arrival arrival, unsigned seed)
      : block_(seed), d_(d), global_(global), arrival_(arrival) {}

  void run(const nvfp4::gpu::NativeGemm& p, std::int64_t block) {
    using namespace nvfp4;
    block_.run(
        gpu::sm120::threads,
        [&] {
          if (p.layout == ScaleLayout::linear)
            return gpu::sm120::multiply_block<ScaleLayout::linear>(*this, p, block);
          gpu::sm120::multiply_block<ScaleLayout::tiled_128x4>(*this, p, block);
        },
        [] { return false; });
  }

  int thread() const { return block_.thread(); }
  void sync() {
    block_.meet(all_, nvfp4::gpu::sm120::threads, [] {});
  }
  void copy16(std::uint32_t to, const std::uint8_t* from, int bytes) { copy(to, from, bytes, 16); }
  void copy4(std::uint32_t to, const std::uint8_t* from, int bytes) { copy(to, from, bytes, 4); }
  void commit() { groups().emplace_back(); }
  template <int left>
  void wait() {
    auto& mine = groups();  // the last is not committed yet
    while (mine.size() - 1 > left) {
      for (const Copy& c : mine.front()) apply(c);
      mine.erase(mine.begin());
    }
  }

  /// Lanes 8 i .. 8 i + 7 name the 8 rows of matrix i; lane l gets two halfwords of row l / 4.
  void ldmatrix(std::uint32_t at, std::uint32_t (&regs)[4]) {
    Lane& lane = mine();
    lane.at = at, lane.regs = regs;
    block_.meet(warp().meeting, 32, [this] {
      std::array<unsigned, 4> banks{};  // of each matrix, in groups of four
      for (std::size_t l = 0; l < 32; ++l) banks[l / 8] |= 1u << warp().lanes[l].at / 16 % 8;
      for (const unsigned used : banks) require(used == 0xFF, "ldmatrix meets a bank twice");
      for (std::size_t l = 0; l < 32; ++l)
        for (std::size_t i = 0; i < 4; ++i)
          std::memcpy(warp().lanes[l].regs + i,
                      shared_.at(warp().lanes[8 * i + l / 4].at, 16, 16) + l % 4 * 4, 4);
    });
  }
  void load16(std::uint32_t at, std::uint32_t (&words)[4]) { std::memcpy(words, shared_.at(at, 16, 16), 16); }
  void mma(float* acc, const std::uint32_t* a, const std::uint32_t* b, std::uint32_t a_scales,
           std::uint32_t b_scales) {
    mine() = {.acc = acc, .a = a, .b = b, .a_scales = a_scales, .b_scales = b_scales};
    block_.meet(warp().meeting, 32, [this] { multiply(warp().lanes); });
  }
  template <int width>
  void store(std::int64_t at, const float* acc) {
    d_.store(at, acc, width);
  }

 private:
  struct Copy {
    std::uint32_t to;
    int size;
    std::array<std::uint8_t, 16> bytes;
  };
  struct Warp {
    fibers::Block::Meeting meeting;
    std::array<Lane, 32> lanes;
  };

  Warp& warp() { return warps_[static_cast<std::size_t>(thread() / 32)]; }
  Lane& mine() { return warp().lanes[static_cast<std::size_t>(thread() % 32)]; }
  std::vector<std::vector<Copy>>& groups() { return groups_[static_cast<std::size_t>(thread())]; }

  void copy(std::uint32_t to, const std::uint8_t* from, int bytes, int size) {
    Copy c{to, size, {}};
    require(bytes >= 0 && bytes <= size, "cp.async of more than its size");
    global_.read(c.bytes.data(), from, static_cast<std::size_t>(bytes), static_cast<std::size_t>(size));
    if (arrival_ == Arrival::at_issue) return apply(c);
    groups().back().push_back(c);
  }
  void apply(const Copy& c) {
    const auto size = static_cast<std::uint32_t>(c.size);
    std::memcpy(shared_.at(c.to, size, size), c.bytes.data(), size);
  }

  fibers::Block block_;
  fibers::Block::Meeting all_{};
  std::array<Warp, nvfp4::gpu::sm120::warps> warps_{};
  std::vector<std::vector<std::vector<Copy>>> groups_{nvfp4::gpu::sm120::threads,
                                                      std::vector<std::vector<Copy>>(1)};
  Shared shared_{nvfp4::gpu::sm120::shared_bytes};
  Result& d_;
  const Global& global_;
  Arrival arrival_;
};

}  // namespace emulated
