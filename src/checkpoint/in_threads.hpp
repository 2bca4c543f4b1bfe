#pragma once
#include <cstddef>
#include <functional>

namespace nvfp4 {

/// Does `work` of 0 .. n-1, each once, in that many threads (0: as many as the CPU layer has). Throws what the first of
/// them threw; the rest is then left undone.
void in_threads(std::size_t n, int threads, const std::function<void(std::size_t)>& work);

}  // namespace nvfp4
