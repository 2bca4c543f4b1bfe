#include <doctest/doctest.h>

#include <map>
#include <optional>

#include "tests/made_checkpoint.hpp"

using namespace nvfp4;
using namespace made;

namespace {

/// None of which is its reciprocal's reciprocal.
constexpr float lost[] = {0.42f, 0.84f, 0.93f, 1.57f};

/// Every tensor's bytes, by its name, type and shape.
std::map<std::string, std::string> contents(const std::string& path) {
  const Checkpoint c(path);
  std::map<std::string, std::string> all;
  for (const std::string& line : tensors_of(path))
    all[line] = text_of(c.read(line.substr(0, line.find(' '))).bytes);
  return all;
}

StoredWeight with_scales(const Convention& c, const std::string& name, std::optional<float> second,
                         std::optional<float> input) {
  StoredWeight s = example(name, Format::ue4m3, {3, 64}, c.use);
  const auto set = [](std::optional<ScaleUse>& use, std::optional<SecondScale>& scale, auto value) {
    value ? void(scale->values = {*value}) : (use.reset(), scale.reset());
  };
  set(s.weight.second, s.second, second);
  set(s.weight.input, s.input, input);
  return s;
}

/// With two scales, with one, and, of GGUF, without, beside one whose scale is a 1 that stands for no other.
std::vector<StoredWeight> weights(const Convention& c) {
  std::vector<StoredWeight> all{with_scales(c, "both.weight", lost[0], lost[1]),
                                with_scales(c, "one.weight", lost[2], {}),
                                with_scales(c, "unit.weight", 1.f, lost[3])};
  if (&c == &gguf_convention) all.push_back(with_scales(c, "none.weight", {}, {}));
  return all;
}

/// Through `formats` one after another.
std::string converted(const scratch::Folder& folder, std::string path, const Names& formats) {
  int step = 0;
  for (const std::string& format : formats) {
    const std::string out = folder / (std::to_string(step++) + ending(convention_named(format)));
    convert_checkpoint(path, {out, Overwrite::yes}, {format});
    path = out;
  }
  return path;
}

}  // namespace

TEST_CASE("scale history: what turned round twice has its bits again, by whatever way") {
  for (const float x : lost) {
    CAPTURE(x);
    REQUIRE(1 / (1 / x) != x);
  }
  const scratch::Folder folder;
  const std::vector<Names> ways{
      {"modelopt", "compressed-tensors", "modelopt"},
      {"compressed-tensors", "torchao", "compressed-tensors"},
      {"compressed-tensors", "gguf", "modelopt", "compressed-tensors"},
      {"gguf", "modelopt", "compressed-tensors", "gguf"},
      {"gguf", "compressed-tensors", "modelopt", "compressed-tensors", "torchao", "gguf"}};
  for (const Names& way : ways) {
    std::string through;
    for (const std::string& format : way) through += format + " ";
    CAPTURE(through);
    const Convention& first = convention_named(way[0]);
    const std::string in = folder / ("in" + ending(first));
    write(in, first, weights(first));
    const std::string out = converted(folder, in, {way.begin() + 1, way.end()});
    CHECK(tensors_of(out) == tensors_of(in));
    CHECK((contents(out) == contents(in)));
  }
}
