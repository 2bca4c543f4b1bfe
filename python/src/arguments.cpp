#include "arguments.hpp"

#include <atomic>

#ifdef NVFP4_WITH_GPU
#include <nvfp4/gpu.hpp>
#endif

namespace nvfp4::python {
namespace {

std::atomic<int> default_threads = 0;

const Kernels* gpu() {
#ifdef NVFP4_WITH_GPU
  return &gpu_kernels();
#else
  return nullptr;
#endif
}

const Kernels* reference() {
#ifdef NVFP4_WITH_REFERENCE
  return &reference_kernels();
#else
  return nullptr;
#endif
}

template <class List, class NameOf>
std::string names_of(const List& list, NameOf name_of) {
  std::string names;
  for (const auto& entry : list) names += (names.empty() ? "" : ", ") + std::string(name_of(entry));
  return names;
}

[[noreturn]] void refuse_name(std::string_view what, std::string_view text, const std::string& expected) {
  throw std::invalid_argument(std::string(what) + " '" + std::string(text) + "': expected one of " +
                              expected);
}

const Kernels& built(const Kernels* kernels, const std::string& device, const std::string& how) {
  if (kernels) return *kernels;
  throw std::invalid_argument("device '" + device + "': this build has no " + device + " layer (" + how +
                              ")");
}

}  // namespace

Dtype dtype_named(std::string_view text) {
  return named(text, "dtype", {Dtype::fp32, Dtype::bf16, Dtype::fp16});
}

BlockShape block_named(std::string_view text) {
  if (const auto block = find_block(text)) return *block;
  refuse_name("block", text, "1x16, 16x16, 1x32");
}

TensorScale tensor_scale_named(std::string_view text) {
  return named(text, "tensor_scale", {TensorScale::tensor, TensorScale::row});
}

FourOverSix four_over_six_of(int e4m3_max, std::string_view select, bool error_fast) {
  return {e4m3_max, named(select, "select", {Select::mae, Select::mse, Select::absmax}), error_fast};
}

Signs signs_named(std::string_view text) {
  return named(text, "rht_signs", {Signs::te, Signs::none, Signs::seed});
}

ScaleLayout layout_named(std::string_view text) {
  if (const auto layout = find_scale_layout(text)) return *layout;
  refuse_name("layout", text, names_of(scale_layouts(), [](ScaleLayout l) { return name(l); }));
}

const Dialect& dialect_named(std::string_view text) {
  if (const Dialect* dialect = find_dialect(text)) return *dialect;
  refuse_name("dialect", text, names_of(all_dialects(), [](const Dialect* d) { return d->name; }));
}

const Accumulation& accumulation_named(std::string_view text) {
  if (const Accumulation* found = find_accumulation(text)) return *found;
  refuse_name("accumulate", text, names_of(accumulations(), [](const Accumulation& a) { return a.name; }));
}

const Kernels& kernels_of(std::string_view device) {
  if (device == "cpu") return cpu_kernels();
  if (device == "reference") return built(reference(), "reference", "Boost's headers were not there");
  if (device != "gpu") refuse_name("device", device, "cpu, reference, gpu");
  try {
    return built(gpu(), "gpu", "nvcc, and -C cmake.define.NVFP4_GPU=ON");
  } catch (const std::runtime_error& e) {
    throw std::invalid_argument(std::string("device 'gpu': ") + e.what());
  }
}

bool has_device(std::string_view device) try {
  kernels_of(device);
  return true;
} catch (const std::invalid_argument&) {
  return false;
}

MatrixView view_of(const MatrixInput& input, std::string_view dtype) {
  const Dtype type = dtype_named(dtype);
  const auto rows = static_cast<std::int64_t>(input.shape(0)),
             cols = static_cast<std::int64_t>(input.shape(1));
  if (rows == 0 || cols == 0)
    throw std::invalid_argument("expected a matrix with elements, found shape (" + std::to_string(rows) +
                                ", " + std::to_string(cols) + ")");
  if (input.itemsize() != size_of(type))
    throw std::invalid_argument("expected elements of " + std::string(name(type)) + ", found " +
                                std::to_string(8 * input.itemsize()) + " bits each");
  return {input.data(), rows, cols, type};
}

nb::object array_of(Matrix&& m) {
  const auto rows = static_cast<std::size_t>(m.rows), cols = static_cast<std::size_t>(m.cols);
  if (m.dtype == Dtype::fp32) return nb::cast(array_of<float>(std::move(m.bytes), {rows, cols}));
  return nb::cast(array_of<std::uint16_t>(std::move(m.bytes), {rows, cols}));
}

Threads::Threads(int count) : before_(threads()) {
  const int wanted = count ? count : default_threads.load();
  if (wanted) set_threads(wanted);
}
Threads::~Threads() { set_threads(before_); }
void Threads::set_default(int count) { default_threads = count; }
int Threads::by_default() { return default_threads ? default_threads.load() : threads(); }

}  // namespace nvfp4::python
