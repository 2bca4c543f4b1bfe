#include <nvfp4/producers.hpp>

#include <stdexcept>
#include <string>

#include <nvfp4/kernels.hpp>

namespace nvfp4 {
namespace {

constexpr BlockShape tile{16, 16};
constexpr const Dialect* te_ref = &dialects::te_ref::info;

/// The producers' refusals are those that their own code raised when the golden files were made.
const Producer table[] = {
    {.name = "te_ref_1d", .spec = {.dialect = te_ref}, .columns = true, .multiple_of = 1},
    {.name = "te_ref_2d", .spec = {.dialect = te_ref, .block = tile}, .columns = true, .multiple_of = 16},
    {.name = "te_ref_rowscaled",
     .spec = {.dialect = te_ref, .tensor_scale = TensorScale::row},
     .columns = true,
     .multiple_of = 1},
};

}  // namespace

std::span<const Producer> producers() { return table; }

const Producer* find_producer(std::string_view name) {
  for (const Producer& p : table)
    if (p.name == name) return &p;
  return nullptr;
}

ProducerResult quantize(const Producer& producer, MatrixView x, const Kernels& kernels) {
  if (x.rows % producer.multiple_of || x.cols % producer.multiple_of)
    throw std::invalid_argument(std::string(producer.name) + " refuses " + std::to_string(x.rows) + "x" +
                                std::to_string(x.cols) + ": it needs multiples of " +
                                std::to_string(producer.multiple_of));
  ProducerResult result{kernels.quantize(x, producer.spec, {}), std::nullopt};
  if (producer.columns && x.rows % 16 == 0)
    result.columns = kernels.quantize(transpose(x).view(), producer.spec, {});
  return result;
}

}  // namespace nvfp4
