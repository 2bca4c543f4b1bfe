#pragma once
#include <deque>
#include <functional>
#include <map>

#include "gpu/native_gemm_sm100.cuh"
#include "tests/emulated_memory.hpp"
#include "tests/fibers.hpp"

namespace emulated {

/// mbarrier: a phase ends when all have arrived and all expected bytes have come.
class Barrier {
 public:
  explicit Barrier(int arrivals) : arrivals_(arrivals), pending_(arrivals) {}
  void arrive(std::int64_t bytes) {
    require(pending_ > 0, "more arrivals than a barrier takes");
    --pending_, bytes_ += bytes;
    advance();
  }
  void complete(std::int64_t bytes) { bytes_ -= bytes, advance(); }
  bool passed(std::uint32_t parity) const { return phase_ != (parity & 1); }
  bool idle() const { return pending_ == arrivals_ && bytes_ == 0; }

 private:
  void advance() {
    if (pending_ == 0 && bytes_ == 0) phase_ ^= 1, pending_ = arrivals_;
  }
  int arrivals_, pending_;
  std::int64_t bytes_ = 0;
  std::uint32_t phase_ = 0;
};

/// Bulk copies end at random times in any order, tensor memory's work at random times in the order of its issue.
template <int n>
class Sm100 {
 public:
  using plan = nvfp4::gpu::sm100::Plan<n>;

  Sm100(Result& d, const Global& global, unsigned seed) : block_(seed), d_(d), global_(global) {}

  void run(const nvfp4::gpu::NativeGemm& p, std::int64_t block) {
    p_ = &p;
    run(nvfp4::gpu::sm100::threads, [&] { nvfp4::gpu::sm100::multiply_block<n>(*this, p, block); });
  }
  void run(int threads, const std::function<void()>& body) {
    threads_ = threads;
    block_.run(threads, body, [this] { return happen(); });
    require(allocated_ == 0, "tensor memory is not freed");
    require(copies_.empty() && issued_.empty(), "a block ends before its work");
    for (const auto& [at, barrier] : barriers_) require(barrier.idle(), "a barrier ends within a phase");
  }

  int thread() const { return block_.thread(); }
  std::uint32_t address(std::uint32_t at) const { return base + at; }
  void sync() {
    block_.meet(all_, threads_, [] {});
  }
  void before_sync() {}
  void after_sync() {}
  void fence_barriers() {}
  void fence_writes() {}
  void wait_sets() {}
  void write(std::uint32_t at, std::uint32_t word) { std::memcpy(shared_.at(at, 4, 4), &word, 4); }
  void set(std::uint32_t at, std::uint32_t word) { cell((at >> 16) + own_lane(at), at & 0xFFFF) = word; }
  std::uint32_t word(std::uint32_t at) {
    std::uint32_t x;
    std::memcpy(&x, shared_.at(at, 4, 4), 4);
    return x;
  }

  void barrier_init(std::uint32_t at, int arrivals) {
    shared_.at(at, 8, 8);
    barriers_.insert_or_assign(at, Barrier(arrivals));
  }
  void expect(std::uint32_t at, std::uint32_t bytes) { barriers_.at(at).arrive(bytes); }
  void wait(std::uint32_t at, std::uint32_t parity) {
    block_.wait_until([this, at, parity] { return barriers_.at(at).passed(parity); });
  }

  /// TMA of bytes under SWIZZLE_128B: bits 4 .. 6 of an address are xored with bits 7 .. 9.
  void load_box(std::uint32_t to, bool of_a, std::int64_t byte, std::int64_t row, std::uint32_t barrier) {
    const int rows = of_a ? 128 : n;
    const auto at = [=](int r, int b) {
      return swizzled(base + to + static_cast<std::uint32_t>(128 * r + b));
    };
    copies_.push_back([=, this] {
      require((base + to) % 1024 == 0, "a swizzled box must begin at 1024 bytes");
      for (int r = 0; r < rows; ++r)
        for (int b = 0; b < 128; ++b) *byte_at(at(r, b)) = code_byte(of_a, row + r, byte + b);
      barriers_.at(barrier).complete(rows * 128);
    });
  }
  void copy(std::uint32_t to, const std::uint8_t* from, std::uint32_t bytes, std::uint32_t barrier) {
    require(bytes % 16 == 0 && bytes > 0, "bulk copies are of whole 16 bytes");
    copies_.push_back([=, this] {
      global_.read(shared_.at(to, bytes, 16), from, bytes, 16);
      barriers_.at(barrier).complete(bytes);
    });
  }

  void allocate(std::uint32_t at, std::uint32_t columns) {
    block_.meet(tensor_warp_, 32, [=, this] {
      require(std::has_single_bit(columns) && columns >= 32 && columns <= 512, "columns of tensor memory");
      allocated_ = columns, memory_ = 512 - columns;
      std::memcpy(shared_.at(at, 4, 4), &memory_, 4);
    });
  }
  void free(std::uint32_t memory, std::uint32_t columns) {
    block_.meet(tensor_warp_, 32, [=, this] {
      require(memory == memory_ && columns == allocated_, "frees what was not allocated");
      allocated_ = 0;
    });
  }
  void copy_scales(std::uint32_t column, std::uint64_t from) {
    issue([=, this] { copy_atom(column, from); });
  }
  void mma(std::uint32_t d, std::uint64_t a, std::uint64_t b, std::uint32_t instruction,
           std::uint32_t a_scales, std::uint32_t b_scales, bool add) {
    issue([=, this] { multiply(d, a, b, instruction, a_scales, b_scales, add); });
  }
  void commit(std::uint32_t barrier) {
    issue([=, this] { barriers_.at(barrier).arrive(0); });
  }
  void load32(std::uint32_t from, float (&x)[32]) {
    const std::uint32_t lane = (from >> 16) + own_lane(from);
    block_.meet(storing_[thread() / 32], 32, [] {});
    for (std::uint32_t i = 0; i < 32; ++i) x[i] = std::bit_cast<float>(cell(lane, (from & 0xFFFF) + i));
  }
  template <int width>
  void store(std::int64_t at, const float* acc) {
    d_.store(at, acc, width);
  }

 private:
  static constexpr std::uint32_t base = 3 * 1024;

  /// One thing of those that may happen now.
  bool happen() {
    const std::size_t choices = copies_.size() + !issued_.empty();
    if (choices == 0) return false;
    const std::size_t i = block_.below(static_cast<std::uint32_t>(choices));
    if (i == copies_.size()) {
      issued_.front()();
      issued_.pop_front();
      return true;
    }
    copies_[i]();
    copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  void issue(std::function<void()> work) {
    if (issued_.empty()) issuer_ = thread();
    require(issuer_ == thread(), "one thread issues");
    issued_.push_back(std::move(work));
  }

  std::uint32_t own_lane(std::uint32_t address) const {
    const auto mine = static_cast<std::uint32_t>(thread());
    require(address >> 16 == mine / 32 % 4 * 32, "a warp reaches its own lanes of tensor memory only");
    return mine % 32;
  }
  static std::uint32_t swizzled(std::uint32_t address) { return address ^ (address >> 7 & 7) << 4; }
  std::uint8_t* byte_at(std::uint32_t address) { return shared_.at(address - base, 1, 1); }
  std::uint8_t code_byte(bool of_a, std::int64_t row, std::int64_t byte) const {
    const std::int64_t rows = of_a ? p_->m : p_->n, row_bytes = p_->k / 2;
    return row < rows && byte < row_bytes ? (of_a ? p_->a : p_->b)[row * row_bytes + byte] : 0;
  }
  std::uint32_t& cell(std::uint32_t lane, std::uint32_t column) {
    require(lane < 128 && column >= memory_ && column < memory_ + allocated_,
            "outside allocated tensor memory");
    return tensor_[column * 128 + lane];
  }

  struct Descriptor {
    std::uint32_t start, stride;
    std::uint64_t layout;
    explicit Descriptor(std::uint64_t d)
        : start((d & 0x3FFF) << 4), stride((d >> 32 & 0x3FFF) << 4), layout(d >> 61) {
      require((d >> 46 & 3) == 1, "a descriptor's version must be 1");
      require((d >> 48 & 0x1FFF) == 0 && (d >> 14 & 3) == 0 && (d >> 30 & 3) == 0,
              "reserved bits of a descriptor");
    }
  };

  void copy_atom(std::uint32_t column, std::uint64_t from) {
    const Descriptor d(from);
    require(d.layout == 0, "scales are not swizzled");
    for (std::uint32_t row = 0; row < 32; ++row)
      for (std::uint32_t c = 0; c < 4; ++c)
        for (std::uint32_t copy = 0; copy < 4; ++copy)
          std::memcpy(&cell(row + 32 * copy, column + c),
                      shared_.at(d.start - base + row / 8 * d.stride + row % 8 * 16 + 4 * c, 4, 4), 4);
  }

  void codes(std::vector<std::uint64_t>& to, std::uint64_t descriptor) {
    const Descriptor d(descriptor);
    require(d.layout == 2, "codes are swizzled by 128 bytes");
    require((d.start & 0x380) == 0, "a swizzled tile must begin at 1024 bytes");
    for (std::uint32_t i = 0; i < to.size(); ++i) {
      const std::uint32_t row = i / 64, k = i % 64;
      to[i] = *byte_at(swizzled(d.start + row / 8 * d.stride + row % 8 * 128 + k / 2)) >> 4 * (k % 2) & 15;
    }
  }
  void scales(std::vector<std::uint8_t>& to, std::uint32_t column) {
    for (std::uint32_t i = 0; i < to.size(); ++i) {
      const std::uint32_t row = i / 4, word = cell(row % 32, column + row / 32);
      for (std::uint32_t copy = 1; copy < 4; ++copy)
        require(cell(row % 32 + 32 * copy, column + row / 32) == word,
                "scales must stand in all quarters of the lanes");
      to[i] = static_cast<std::uint8_t>(word >> 8 * (i % 4));
    }
  }
  void multiply(std::uint32_t d, std::uint64_t a, std::uint64_t b, std::uint32_t instruction,
                std::uint32_t a_scales, std::uint32_t b_scales, bool add) {
    const std::uint32_t rows = (instruction >> 27 & 3) * 128, cols = (instruction >> 17 & 63) * 8;
    require((instruction & ~(3u << 27 | 63u << 17)) == (1u << 7 | 1u << 10),
            "E2M1, K-major, UE4M3 and K = 64");
    require(rows == 128 && cols % 16 == 0 && cols > 0, "an instruction's shape");
    Instruction x(rows, cols);
    codes(x.a, a), codes(x.b, b), scales(x.a_scales, a_scales), scales(x.b_scales, b_scales);
    const auto c = [&](std::uint32_t i) -> std::uint32_t& { return cell(i / cols, (d & 0xFFFF) + i % cols); };
    for (std::uint32_t i = 0; i < rows * cols; ++i) x.c[i] = add ? c(i) : 0;
    const auto result = x.result();
    for (std::uint32_t i = 0; i < rows * cols; ++i) c(i) = static_cast<std::uint32_t>(result[i]);
  }

  fibers::Block block_;
  fibers::Block::Meeting all_{}, tensor_warp_{}, storing_[6]{};
  Shared shared_{plan::shared};
  std::map<std::uint32_t, Barrier> barriers_{};
  std::vector<std::function<void()>> copies_{};
  std::deque<std::function<void()>> issued_{};
  int issuer_ = 0, threads_ = 0;
  std::vector<std::uint32_t> tensor_ = std::vector<std::uint32_t>(512 * 128, 0x7FC12345);
  std::uint32_t memory_ = 0, allocated_ = 0;
  const nvfp4::gpu::NativeGemm* p_ = nullptr;
  Result& d_;
  const Global& global_;
};

}  // namespace emulated
