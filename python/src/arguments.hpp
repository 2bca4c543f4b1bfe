#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <nvfp4/kernels.hpp>
#include <nvfp4/layout.hpp>

/// What all bindings share: how arguments of Python become the library's, and results arrays.
namespace nvfp4::python {

namespace nb = nanobind;

/// Elements of 2 bytes are BF16 or FP16 by `dtype` beside it: NumPy has no BF16 that could say so.
using MatrixInput = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ByteInput = nb::ndarray<const std::uint8_t, nb::c_contig, nb::device::cpu>;
using FloatInput = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using WordInput = nb::ndarray<const std::uint32_t, nb::c_contig, nb::device::cpu>;
using ByteArray = nb::ndarray<nb::numpy, std::uint8_t>;

/// The one of `all` that bears this name. Throws std::invalid_argument with the names that there are.
template <class E>
E named(std::string_view text, std::string_view what, std::initializer_list<E> all) {
  std::string names;
  for (const E e : all) {
    if (name(e) == text) return e;
    names += (names.empty() ? "" : ", ") + std::string(name(e));
  }
  throw std::invalid_argument(std::string(what) + " '" + std::string(text) + "': expected one of " + names);
}

Dtype dtype_named(std::string_view);
BlockShape block_named(std::string_view);
TensorScale tensor_scale_named(std::string_view);
FourOverSix four_over_six_of(int e4m3_max, std::string_view select, bool error_fast);
Signs signs_named(std::string_view);
ScaleLayout layout_named(std::string_view);
const Dialect& dialect_named(std::string_view);
const Accumulation& accumulation_named(std::string_view);

/// Throws std::invalid_argument for a device that this build or machine lacks.
const Kernels& kernels_of(std::string_view device);
bool has_device(std::string_view device);

MatrixView view_of(const MatrixInput&, std::string_view dtype);

template <class T, class Input>
std::span<const T> span_of(const Input& input) {
  return {input.data(), input.size()};
}

/// Keeps the vector's memory: nothing is copied.
template <class T, class From>
nb::ndarray<nb::numpy, T> array_of(std::vector<From>&& values, std::initializer_list<std::size_t> shape) {
  auto* kept = new std::vector<From>(std::move(values));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<From>*>(p); });
  return nb::ndarray<nb::numpy, T>(reinterpret_cast<T*>(kept->data()), shape, owner);
}
/// FP32 as float32; BF16 and FP16 as uint16 bits.
nb::object array_of(Matrix&&);

/// The OpenMP threads of one call, in the Python thread that makes it; 0: as set_default() says.
class Threads {
 public:
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  static void set_default(int count);  ///< 0: OpenMP's own number
  static int by_default();

 private:
  int before_;
};

/// `body` without the GIL.
template <class Body>
auto released(int threads, Body body) {
  const nb::gil_scoped_release unlocked;
  const Threads count(threads);
  return body();
}

void bind_tensor(nb::module_&);
void bind_products(nb::module_&);
void bind_mma(nb::module_&);
void bind_recipes(nb::module_&);
void bind_tables(nb::module_&);
void bind_checks(nb::module_&);
void bind_bounds(nb::module_&);
void bind_training(nb::module_&);

}  // namespace nvfp4::python
