#include "scale_tensors.hpp"

namespace nvfp4 {

bool holds_scales(const Checkpoint& c, const std::string& name, std::int64_t experts) {
  const Tensor* t = c.find(name);
  if (!t || !t->block_type.empty() || t->info.type != io::ElementType::f32) return false;
  const std::int64_t numbers = elements(t->shape);
  return numbers == 1 || numbers == experts;
}

SecondScale read_scales(const Checkpoint& c, const std::string& name, ScaleUse use) {
  const io::Array array = c.read(name);
  const std::span<const float> values = array.f32(array.info.shape);
  return {use, {values.begin(), values.end()}};
}

io::Bytes scale_bytes(const std::optional<SecondScale>& scale, ScaleUse use, std::int64_t experts) {
  std::vector<float> values = scale ? as(use, *scale).values : std::vector<float>{1};
  if (values.size() == 1) values.resize(static_cast<std::size_t>(experts), values[0]);
  return owned(std::move(values));
}

}  // namespace nvfp4
