#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include <nvfp4/io.hpp>

using namespace nvfp4::io;

namespace {

template <class Act>
void tolerate_refusal(Act act) {
  try {
    act();
  } catch (const FileError&) {
  }
}

/// Reads every byte, so that the sanitizers see each of them.
void touch(const Array& array) {
  const auto add = [](unsigned sum, std::byte b) { return sum + std::to_integer<unsigned>(b); };
  const auto view = array.bytes.view();
  [[maybe_unused]] volatile unsigned sum = std::accumulate(view.begin(), view.end(), 0u, add);
  if (array.bytes.size() != byte_size(array.info)) __builtin_trap();
}

/// A header that was read is one that can be written, and its tensors are decoded.
void rewrite(const Gguf& file) {
  const GgufLayout layout = gguf_layout(file.metadata(), file.tensors());
  if (layout.size > 1 << 20) return;
  std::vector<std::byte> bytes(layout.size);
  std::memcpy(bytes.data(), layout.header.data(), layout.header.size());
  const Gguf again(Bytes(std::move(bytes)), FUZZED_FILE);
  if (again.metadata() != file.metadata() || again.tensors() != file.tensors()) __builtin_trap();
  for (const std::string& name : file.names()) tolerate_refusal([&] { gguf_values(file, name); });
}

}  // namespace

/// Every array of the bytes as a file of the container FUZZED_FILE.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* first = reinterpret_cast<const std::byte*>(data);
  tolerate_refusal([&] {
    const auto file = open_arrays(Bytes(std::vector<std::byte>(first, first + size)), FUZZED_FILE);
    for (const std::string& name : file->names()) {
      tolerate_refusal([&] { file->info(name); });
      tolerate_refusal([&] { touch(file->read(name)); });
      tolerate_refusal([&] { as_matrix(file->read(name)); });
    }
    if (const auto* gguf = dynamic_cast<const Gguf*>(file.get())) rewrite(*gguf);
    tolerate_refusal([&] { read_stack(*file); });
    golden_cases(*file);
    read_quantized(*file);
  });
  return 0;
}
