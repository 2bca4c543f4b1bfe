#include <memory>

#include <CLI/CLI.hpp>
#include <nvfp4/io.hpp>

#include "command.hpp"
#include "device.hpp"
#include "number.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string in, out, out_dtype = "float32", device = "cpu";
  bool force = false;
};

/// FP32 to BF16 or FP16, one rounding to nearest even, beyond the range to infinity.
Matrix convert(Matrix values, Dtype dtype, const Kernels& kernels) {
  if (dtype == Dtype::fp32) return values;
  const auto count = static_cast<std::size_t>(values.rows * values.cols);
  std::vector<std::uint32_t> codes(count);
  const Encoding encoding{dtype == Dtype::bf16 ? Format::bf16 : Format::fp16, Rounding::nearest_even,
                          Overflow::special};
  kernels.encode({values.f32(), count}, encoding, codes);
  Matrix out(values.rows, values.cols, dtype);
  for (std::size_t i = 0; i < count; ++i) out.u16()[i] = static_cast<std::uint16_t>(codes[i]);
  return out;
}

Outcome run(const Options& o) {
  const Kernels& kernels = kernels_of(o.device);
  const Dtype dtype = dtype_named(o.out_dtype).value_or(Dtype::fp32);
  const io::QuantizedFile in = io::read_quantized(o.in);
  const Matrix out = convert(kernels.dequantize(in.rows), dtype, kernels);
  io::write_matrix(o.out, out.view(), o.force ? io::Overwrite::yes : io::Overwrite::no);

  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = {{"input", o.in},    {"output", o.out},  {"dialect", in.rows.spec.dialect->name},
                  {"rows", out.rows}, {"cols", out.cols}, {"dtype", name(dtype)}};
  outcome.text = o.out + ": " + std::to_string(out.rows) + " x " + std::to_string(out.cols) + ' ' +
                 std::string(name(dtype)) + " by " + std::string(in.rows.spec.dialect->name) + '\n';
  return outcome;
}

}  // namespace

Run declare_dequantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("IN", o->in, "a quantized tensor, .npz or .safetensors, or - for stdin")->required();
  app.add_option("-o,--output", o->out, ".npy, .npz or .safetensors, or - for stdout (.npy)")->required();
  app.add_option("--out-dtype", o->out_dtype, "float32|float16|bf16 (uint16 bits)")->capture_default_str();
  app.add_flag("--force", o->force, "replace an existing OUT");
  declare_device(app, o->device);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
