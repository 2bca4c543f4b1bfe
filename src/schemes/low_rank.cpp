#include "low_rank.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nvfp4::scheme {
namespace {

using Vector = std::vector<double>;
using Vectors = std::vector<Vector>;  ///< of one length

double dot(const Vector& x, const Vector& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// x + factor * y.
void add(Vector& x, double factor, const Vector& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += factor * y[i];
}

/// A x of each.
Vectors times(const Matrix& a, const Vectors& xs) {
  Vectors all;
  for (const Vector& x : xs) {
    Vector& y = all.emplace_back(static_cast<std::size_t>(a.rows));
    for (std::size_t i = 0; i < y.size(); ++i) {
      const float* row = a.f32() + static_cast<std::int64_t>(i) * a.cols;
      for (std::size_t k = 0; k < x.size(); ++k) y[i] += row[k] * x[k];
    }
  }
  return all;
}

Vectors random_signs(std::int64_t length, std::int64_t count, const RandomBits& bits) {
  Vectors w(static_cast<std::size_t>(count), Vector(static_cast<std::size_t>(length)));
  for (std::int64_t k = 0; k < length; ++k)
    for (std::int64_t j = 0; j < count; ++j) {
      const std::uint32_t word = draw(bits, k, j / 128)[static_cast<std::size_t>(j % 128 / 32)];
      w[static_cast<std::size_t>(j)][static_cast<std::size_t>(k)] = word >> (j % 32) & 1 ? -1 : 1;
    }
  return w;
}

/// Gram and Schmidt's, twice, which is enough (Kahan, in Parlett, The Symmetric Eigenvalue Problem, 6.9); what then is left
/// of a vector that the others span is rounding alone, and becomes 0.
void orthonormalize(Vectors& x) {
  for (std::size_t j = 0; j < x.size(); ++j) {
    const double before = std::sqrt(dot(x[j], x[j]));
    for (int pass = 0; pass < 2; ++pass)
      for (std::size_t i = 0; i < j; ++i) add(x[j], -dot(x[i], x[j]), x[i]);
    const double norm = std::sqrt(dot(x[j], x[j]));
    const bool spanned = norm <= before * 0x1p-40;
    for (double& v : x[j]) v = spanned ? 0 : v / norm;
  }
}

/// (x, y) = (c x - s y, s x + c y).
void rotate(Vector& x, Vector& y, double c, double s) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double old = x[i];
    x[i] = c * old - s * y[i];
    y[i] = s * old + c * y[i];
  }
}

/// Hestenes' one-sided Jacobi method: rotations make the vectors b orthogonal, and keep the sum of q_i b_i^T.
void diagonalize(Vectors& b, Vectors& q) {
  constexpr int most_sweeps = 40;
  bool rotated = true;
  for (int sweep = 0; rotated && sweep < most_sweeps; ++sweep) {
    rotated = false;
    for (std::size_t i = 0; i < b.size(); ++i)
      for (std::size_t j = i + 1; j < b.size(); ++j) {
        const double x = dot(b[i], b[i]), y = dot(b[j], b[j]), z = dot(b[i], b[j]);
        if (!(std::fabs(z) > 0x1p-46 * std::sqrt(x) * std::sqrt(y))) continue;
        const double zeta = (y - x) / (2 * z);
        const double t = (zeta < 0 ? -1 : 1) / (std::fabs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t);
        rotate(b[i], b[j], c, c * t);
        rotate(q[i], q[j], c, c * t);
        rotated = true;
      }
  }
}

Matrix rounded(const Vectors& rows, std::int64_t cols) {
  Matrix m(std::ssize(rows), cols);
  float* to = m.f32();
  for (const Vector& row : rows)
    for (const double v : row) *to++ = static_cast<float>(v);
  return m;
}

/// a less the sum of q_i b_i^T.
Matrix remainder(const Matrix& a, const Vectors& q, const Vectors& b) {
  Matrix r(a.rows, a.cols);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t k = 0; k < a.cols; ++k) {
      double sum = 0;
      for (std::size_t n = 0; n < q.size(); ++n)
        sum += q[n][static_cast<std::size_t>(i)] * b[n][static_cast<std::size_t>(k)];
      r.f32()[i * a.cols + k] = static_cast<float>(a.f32()[i * a.cols + k] - sum);
    }
  return r;
}

/// In descending order of b's lengths, ties as they come.
void sort(Vectors& b, Vectors& q, Vector& lengths) {
  std::vector<std::size_t> order(b.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](std::size_t i) { return dot(b[i], b[i]); });
  Vectors sorted_b, sorted_q;
  for (const std::size_t i : order) {
    lengths.push_back(std::sqrt(dot(b[i], b[i])));
    sorted_b.push_back(std::move(b[i]));
    sorted_q.push_back(std::move(q[i]));
  }
  b = std::move(sorted_b), q = std::move(sorted_q);
}

}  // namespace

LowRank low_rank(const Matrix& a, std::int64_t rank, int iterations, const RandomBits& bits) {
  const Matrix turned = transpose(a.view());
  Vectors q = times(a, random_signs(a.cols, std::min({rank, a.rows, a.cols}), bits));
  orthonormalize(q);
  for (int i = 0; i < iterations; ++i) {
    Vectors back = times(turned, q);
    orthonormalize(back);
    q = times(a, back);
    orthonormalize(q);
  }
  Vectors b = times(turned, q);
  diagonalize(b, q);
  Vector lengths;
  sort(b, q, lengths);
  LowRank made{rounded(q, a.rows), {}, {lengths.begin(), lengths.end()}, remainder(a, q, b)};
  for (std::size_t n = 0; n < b.size(); ++n)
    for (double& v : b[n]) v = lengths[n] > 0 ? v / lengths[n] : 0;
  made.v = rounded(b, a.cols);
  return made;
}

}  // namespace nvfp4::scheme
