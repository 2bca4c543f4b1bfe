#include "summary.hpp"

#include <algorithm>
#include <iterator>

namespace nvfp4 {

void Tally::keep(const Tensor& t, const TensorGroup& group, const std::string& reason) {
  ++summary_.copied;
  summary_.parameters += elements(t.shape);
  summary_.bytes += static_cast<std::int64_t>(group.bytes());
  if (t.shape.size() < 2) return;
  const bool widened = !t.block_type.empty() && group.tensors.front().block_type.empty();
  summary_.kept.push_back(
      {t.info.name, reason + (widened ? "; float32, from " + std::string(t.block_type) : "")});
  modules_.insert(module_of(t.info.name));
}

void Tally::quantize(const Weight& w, const TensorGroup& group) {
  ++summary_.quantized;
  quantized_modules_.insert(module_of(w.name));
  summary_.parameters += elements(w.shape);
  summary_.quantized_parameters += elements(w.shape);
  summary_.bytes += static_cast<std::int64_t>(group.bytes());
  summary_.quantized_bytes += static_cast<std::int64_t>(group.bytes());
}

std::vector<std::string> Tally::kept_modules() const {
  std::vector<std::string> modules;
  std::set_difference(modules_.begin(), modules_.end(), quantized_modules_.begin(), quantized_modules_.end(),
                      std::back_inserter(modules));
  return modules;
}

double bits_each(std::int64_t bytes, std::int64_t parameters) {
  return parameters ? 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0;
}

double CheckpointSummary::bits_per_parameter() const { return bits_each(bytes, parameters); }
double CheckpointSummary::bits_per_quantized_parameter() const {
  return bits_each(quantized_bytes, quantized_parameters);
}

}  // namespace nvfp4
