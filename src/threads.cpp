#include <omp.h>

#include <algorithm>

#include <nvfp4/kernels.hpp>

namespace nvfp4 {

void set_threads(int n) { omp_set_num_threads(std::max(n, 1)); }
int threads() { return omp_get_max_threads(); }

}  // namespace nvfp4
