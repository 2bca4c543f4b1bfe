#pragma once
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

/// The threads of a block of a GPU, on one thread of the host.
namespace fibers {

/// Threads run one at a time, each until it waits; who is next, and when events beside the threads happen, is random.
class Block {
 public:
  explicit Block(unsigned seed) : random_(seed) {}

  /// Until every body has ended. `event` lets one thing happen beside the threads; false: there is none. Throws
  /// std::runtime_error where all wait for ever, and what a body throws.
  void run(int threads, const std::function<void()>& body, const std::function<bool()>& event) {
    body_ = &body;
    running_ = this;
    fibers_ = std::vector<Fiber>(static_cast<std::size_t>(threads));
    for (Fiber& f : fibers_) start(f);
    for (std::size_t left = fibers_.size(); left > 0;) {
      if (below(8) == 0) event();
      const std::size_t ended = run_a_warp();
      if (failure_) std::rethrow_exception(failure_);
      if (ended == none && !event()) throw std::runtime_error("every thread waits for ever");
      if (ended != none) left -= ended;
    }
  }
  int thread() const { return static_cast<int>(current_ - fibers_.data()); }

  void wait_until(std::function<bool()> ready) {
    if (ready()) return;
    current_->ready = std::move(ready);
    swapcontext(&current_->context, &scheduler_);
  }

  /// Where `size` threads meet: the last to come does `all` for them.
  struct Meeting {
    int arrived = 0, round = 0;
  };
  template <class F>
  void meet(Meeting& m, int size, F all) {
    const int round = m.round;
    if (++m.arrived < size) return wait_until([&m, round] { return m.round != round; });
    all();
    m.arrived = 0, ++m.round;
  }

  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }

 private:
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<std::byte[]> stack = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
    std::function<bool()> ready{};
    bool done = false;
  };
  static constexpr std::size_t stack_bytes = 1 << 17, none = SIZE_MAX;

  void start(Fiber& f) {
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = stack_bytes;
    f.context.uc_link = &scheduler_;
    makecontext(&f.context, enter, 0);
  }
  static void enter() {
    Block& block = *running_;
    try {
      (*block.body_)();
    } catch (...) {
      block.failure_ = std::current_exception();
    }
    block.current_->done = true;
  }

  /// How many threads ended; none: no thread could run.
  std::size_t run_a_warp() {
    const std::size_t warps = fibers_.size() / 32, first = below(static_cast<std::uint32_t>(warps));
    for (std::size_t w = 0; w < warps; ++w) {
      std::size_t ran = 0, ended = 0;
      for (std::size_t lane = 0; lane < 32 && !failure_; ++lane) {
        Fiber& f = fibers_[(first + w) % warps * 32 + lane];
        if (f.done || (f.ready && !f.ready())) continue;
        f.ready = nullptr;
        current_ = &f;
        swapcontext(&scheduler_, &f.context);
        ++ran, ended += f.done;
      }
      if (ran > 0) return ended;
    }
    return none;
  }

  static inline thread_local Block* running_ = nullptr;
  std::mt19937 random_;
  ucontext_t scheduler_{};
  std::vector<Fiber> fibers_{};
  Fiber* current_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr failure_{};
};

}  // namespace fibers
