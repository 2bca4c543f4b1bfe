#include "in_threads.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <nvfp4/kernels.hpp>

namespace nvfp4 {

void in_threads(std::size_t n, int threads, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  const auto run = [&] {
    for (std::size_t i = next++; i < n; i = next++) try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next = n;
      }
  };
  const auto wanted = static_cast<std::size_t>(threads > 0 ? threads : nvfp4::threads());
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < std::min(wanted, n); ++i) others.emplace_back(run);
  run();
  others.clear();
  if (error) std::rethrow_exception(error);
}

}  // namespace nvfp4
