#pragma once
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "terminal.hpp"

namespace nvfp4::cli {

/// One thing timed, every repetition of it.
struct Timed {
  std::string name, limit;  ///< `limit` is the first word of the row that it is held against
  int threads;
  std::vector<double> rates{};
  std::string_view unit = "GB/s read";

  double median() const;
};

template <class Work>
double seconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace nvfp4::cli
