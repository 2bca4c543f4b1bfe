#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <nvfp4/kernels.hpp>

/// What emulated machines of both kinds are made of. Every misuse throws std::runtime_error.
namespace emulated {

using Bytes = std::span<const std::uint8_t>;

inline void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

/// Starts as garbage: NaN scales.
class Shared {
 public:
  explicit Shared(std::size_t bytes) : bytes_(bytes, 0x7F) {}
  std::uint8_t* at(std::uint32_t offset, std::uint32_t bytes, std::uint32_t alignment) {
    require(offset + std::size_t{bytes} <= bytes_.size(), "outside shared memory");
    require(offset % alignment == 0, "misaligned in shared memory");
    return bytes_.data() + offset;
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

/// The arrays that a kernel may read.
struct Global {
  std::vector<Bytes> arrays{};

  void read(void* to, const std::uint8_t* from, std::size_t bytes, std::size_t alignment) const {
    const auto start = reinterpret_cast<std::uintptr_t>(from);
    require(start % alignment == 0, "misaligned in global memory");
    for (const Bytes& array : arrays) {
      const auto first = reinterpret_cast<std::uintptr_t>(array.data());
      if (start < first || start + bytes > first + array.size()) continue;
      std::memcpy(to, from, bytes);
      return;
    }
    require(bytes == 0, "outside global memory");
  }
};

/// FP32 accumulators of D.
class Result {
 public:
  Result(std::int64_t rows, std::int64_t cols)
      : d(rows, cols), written_(static_cast<std::size_t>(rows * cols)) {}
  void store(std::int64_t at, const float* acc, int width) {
    require(at >= 0 && at + width <= static_cast<std::int64_t>(written_.size()), "outside D");
    require(at % width == 0, "misaligned in D");
    for (int i = 0; i < width; ++i) {
      require(++written_[static_cast<std::size_t>(at + i)] == 1, "an element of D is written twice");
      d.f32()[at + i] = acc[i];
    }
  }
  bool complete() const {
    for (const int times : written_)
      if (times != 1) return false;
    return true;
  }
  nvfp4::Matrix d;

 private:
  std::vector<int> written_;
};

/// One NVFP4 instruction on codes, D = A * transpose(B) + C, by the CPU's model. Row-major.
struct Instruction {
  Instruction(std::int64_t rows, std::int64_t cols)
      : rows(rows),
        cols(cols),
        a(size(rows, 64)),
        b(size(cols, 64)),
        c(size(rows, cols)),
        a_scales(size(rows, 4)),
        b_scales(size(cols, 4)) {}
  std::vector<std::uint64_t> result() const {
    nvfp4::MmaOperands x{.rows = rows, .cols = cols, .k = 64, .scale = nvfp4::Format::ue4m3, .block = 16};
    x.a = a, x.b = b, x.c = c, x.a_scales = a_scales, x.b_scales = b_scales;
    return nvfp4::cpu_kernels().mma(x, *nvfp4::find_accumulation("sm100_nvfp4"), false);
  }
  std::int64_t rows, cols;
  std::vector<std::uint64_t> a, b, c;
  std::vector<std::uint8_t> a_scales, b_scales;

 private:
  static std::size_t size(std::int64_t rows, std::int64_t cols) {
    return static_cast<std::size_t>(rows * cols);
  }
};

}  // namespace emulated
