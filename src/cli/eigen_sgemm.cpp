// Its inline functions are compiled for AVX2: under their own name, none can stand in for another file's.
#define Eigen eigen_avx2
#include <Eigen/Core>

#include "sgemm.hpp"

namespace nvfp4::cli {

void eigen_sgemm(int n, const float* a, const float* b, float* c, int threads) {
  using Rows = eigen_avx2::Matrix<float, eigen_avx2::Dynamic, eigen_avx2::Dynamic, eigen_avx2::RowMajor>;
  eigen_avx2::setNbThreads(threads);
  eigen_avx2::Map<Rows>(c, n, n).noalias() =
      eigen_avx2::Map<const Rows>(a, n, n) * eigen_avx2::Map<const Rows>(b, n, n).transpose();
}

}  // namespace nvfp4::cli
