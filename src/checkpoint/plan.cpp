#include "plan.hpp"

#include <algorithm>
#include <bit>
#include <set>
#include <stdexcept>

namespace nvfp4 {
namespace {

/// The largest power of two, 8 at most, that divides `bytes`: how the next tensor is aligned if this one is.
std::uint64_t keeps(std::uint64_t bytes) {
  return bytes ? std::uint64_t{1} << std::min(3, std::countr_zero(bytes)) : 8;
}

std::uint64_t width(const OutputTensor& t) {
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(io::info(t.info.type).bits) / 8);
}

bool displaces(const TensorGroup& group) {
  std::uint64_t widest = 1, at = 0;
  for (const OutputTensor& t : group.tensors) {
    widest = std::max(widest, width(t));
    if (at % width(t)) return true;
    at += byte_size(t.info);
  }
  return keeps(at) < widest;
}

void take_apart(const TensorGroup& group, std::vector<TensorGroup>& parts) {
  for (std::size_t i = 0; i < group.tensors.size(); ++i)
    parts.push_back({{group.tensors[i]}, i == 0 ? group.input_bytes : 0, [make = group.make, i] {
                       return std::vector{make().at(i)};
                     }});
}

}  // namespace

std::uint64_t TensorGroup::bytes() const {
  std::uint64_t sum = 0;
  for (const OutputTensor& t : tensors) sum += byte_size(t.info);
  return sum;
}

TensorGroup copied(const Checkpoint& checkpoint, const Tensor& tensor) {
  return {{{tensor.info, tensor.block_type, tensor.shape}}, byte_size(tensor.info), [&checkpoint, &tensor] {
            return std::vector{checkpoint.read(tensor).bytes};
          }};
}

std::vector<TensorGroup> aligned(std::vector<TensorGroup> groups) {
  std::vector<TensorGroup> parts;
  for (TensorGroup& group : groups)
    if (displaces(group))
      take_apart(group, parts);
    else
      parts.push_back(std::move(group));
  std::stable_sort(parts.begin(), parts.end(), [](const TensorGroup& a, const TensorGroup& b) {
    return keeps(a.bytes()) > keeps(b.bytes());
  });
  return parts;
}

void refuse_collisions(const CheckpointPlan& plan) {
  std::set<std::string_view> names;
  for (const TensorGroup& group : plan.groups)
    for (const OutputTensor& t : group.tensors)
      if (!names.insert(t.info.name).second)
        throw std::invalid_argument("tensor '" + t.info.name +
                                    "' would be written twice: is the checkpoint quantized already?");
}

}  // namespace nvfp4
