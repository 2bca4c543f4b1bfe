#include <nanobind/stl/vector.h>

#include <nvfp4/gemm.hpp>
#include <nvfp4/producers.hpp>

#include "arguments.hpp"

namespace nvfp4::python {
namespace {

struct GemmOptions {
  std::optional<float> alpha;
  bool use_globals;
  std::int64_t split_k;
  std::optional<FloatInput> bias;
  std::optional<MatrixInput> c;
  std::string c_dtype;
  float beta;
};

GemmSpec spec_of(const GemmOptions& o, const BlockScaledTensor& a, const BlockScaledTensor& b,
                 const Accumulation& acc, const Kernels& kernels) {
  GemmSpec spec{.cuts = split_k(a, acc, o.split_k), .beta = o.beta};
  if (o.use_globals) spec.scaling = output_scaling(a, b);
  if (o.alpha) spec.scaling.alpha = *o.alpha;
  if (o.bias) spec.bias.assign(o.bias->data(), o.bias->data() + o.bias->size());
  if (o.c) spec.c = converted(view_of(*o.c, o.c_dtype), Dtype::fp32, kernels);
  return spec;
}

nb::object multiply(const BlockScaledTensor& a, const BlockScaledTensor& b,
                    std::optional<std::string> accumulate, std::optional<float> alpha, bool use_globals,
                    std::int64_t split_k, std::optional<FloatInput> bias, std::optional<MatrixInput> c,
                    std::string c_dtype, float beta, std::string_view out_dtype, std::string_view device,
                    int threads) {
  const Accumulation& acc =
      accumulate ? accumulation_named(*accumulate) : default_accumulation(*a.spec.dialect);
  const Dtype type = dtype_named(out_dtype);
  const Kernels& kernels = kernels_of(device);
  const GemmOptions options{alpha,        use_globals,        split_k, std::move(bias),
                            std::move(c), std::move(c_dtype), beta};
  return array_of(released(threads, [&] {
    Matrix d = gemm(a, b, acc, spec_of(options, a, b, acc, kernels), kernels);
    return type == Dtype::fp32 ? std::move(d) : converted(d.view(), type, kernels);
  }));
}

nb::object transform(const MatrixInput& x, std::string_view dtype, int size, std::string_view signs,
                     std::uint64_t seed, std::string_view along, std::string_view sum, bool rounded,
                     std::string_view device, int threads) {
  const MatrixView view = view_of(x, dtype);
  Hadamard h{.signs = signs_named(signs), .rounded = rounded, .size = size, .seed = seed};
  if (along != "row" && along != "tokens")
    throw std::invalid_argument("along '" + std::string(along) + "': expected one of row, tokens");
  h.along = along == "row" ? Along::row : Along::tokens;
  if (sum == "tensor_core")
    h.sum = HadamardSum::tensor_core;
  else if (sum == "exact")
    h.sum = HadamardSum::exact;
  else if (sum != "fma_chain")
    throw std::invalid_argument("sum '" + std::string(sum) +
                                "': expected one of fma_chain, tensor_core, exact");
  const Kernels& kernels = kernels_of(device);
  return array_of(released(threads, [&] { return kernels.hadamard(view, h); }));
}

float amax_of(const MatrixInput& x, std::string_view dtype, std::string_view dialect, std::string_view device,
              int threads) {
  const MatrixView view = view_of(x, dtype);
  const Dialect& d = dialect_named(dialect);
  const Kernels& kernels = kernels_of(device);
  return released(threads, [&] { return kernels.amax(view, d); });
}

nb::object convert(const MatrixInput& x, std::string_view dtype, std::string_view to, std::string_view device,
                   int threads) {
  const MatrixView view = view_of(x, dtype);
  const Dtype type = dtype_named(to);
  const Kernels& kernels = kernels_of(device);
  return array_of(released(threads, [&] { return converted(view, type, kernels); }));
}

}  // namespace

void bind_products(nb::module_& m) {
  m.def("gemm", &multiply, nb::arg("a"), nb::arg("b"), nb::kw_only(), nb::arg("accumulate").none(),
        nb::arg("alpha").none(), nb::arg("use_globals"), nb::arg("split_k"), nb::arg("bias").none(),
        nb::arg("c").none(), nb::arg("c_dtype"), nb::arg("beta"), nb::arg("out_dtype"), nb::arg("device"),
        nb::arg("num_threads"));
  m.def("hadamard", &transform, nb::arg("x"), nb::arg("dtype"), nb::kw_only(), nb::arg("size"),
        nb::arg("signs"), nb::arg("seed"), nb::arg("along"), nb::arg("sum"), nb::arg("rounded"),
        nb::arg("device"), nb::arg("num_threads"));
  m.def("amax", &amax_of, nb::arg("x"), nb::arg("dtype"), nb::arg("dialect"), nb::arg("device"),
        nb::arg("num_threads"));
  m.def("converted", &convert, nb::arg("x"), nb::arg("dtype"), nb::arg("to"), nb::arg("device"),
        nb::arg("num_threads"));
}

}  // namespace nvfp4::python
