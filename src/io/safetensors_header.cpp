#include "safetensors_header.hpp"

#include <limits>
#include <set>

#include <nvfp4/io/error.hpp>

#include "json.hpp"
#include "npy.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

constexpr std::size_t max_rank = 64;

/// Takes the header as the parser meets it: no document is built, and the first thing out of place ends it.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}
  SafetensorsHeader header;

  bool start_object(std::size_t) override {
    if (in_ == In::nothing) return go(In::file);
    if (in_ != In::file) refuse("no object");
    if (name_ == metadata_key) return go(In::metadata);
    tensor_ = {{name_, ElementType::u8, {}}, 0, 0};
    fields_.clear();
    offsets_.clear();
    return go(In::tensor);
  }

  bool end_object() override {
    if (in_ == In::tensor) emit();
    return go(in_ == In::file ? In::nothing : In::file);
  }

  bool key(std::string& key) override {
    if (key.find('\0') != std::string::npos) refuse("names without NUL", "one with NUL");
    if (in_ == In::file && !names_.insert(name_ = key).second) refuse("one of that name", "two");
    if (in_ == In::metadata && header.metadata.contains(key)) refuse("one key " + in_quotes(key), "two");
    if (in_ == In::tensor && key != "dtype" && key != "shape" && key != "data_offsets")
      refuse("dtype, shape and data_offsets", in_quotes(key));
    if (in_ == In::tensor && !fields_.insert(key).second) refuse("one field " + in_quotes(key), "two");
    field_ = key;
    return true;
  }

  bool start_array(std::size_t) override {
    if (in_ == In::tensor && field_ == "shape") return go(In::shape);
    if (in_ == In::tensor && field_ == "data_offsets") return go(In::offsets);
    refuse("no list");
  }

  bool end_array() override { return go(In::tensor); }

  bool number_unsigned(std::uint64_t value) override {
    if (in_ == In::shape && value <= std::numeric_limits<std::int64_t>::max() &&
        tensor_.info.shape.size() < max_rank) {
      tensor_.info.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (in_ == In::offsets && offsets_.size() < 2) {
      offsets_.push_back(value);
      return true;
    }
    refuse(in_ == In::shape     ? "at most 64 dimensions, each below 2^63"
           : in_ == In::offsets ? "two offsets"
                                : "no number",
           std::to_string(value));
  }

  bool string(std::string& value) override {
    if (in_ == In::metadata) {
      header.metadata[field_] = value;
      return true;
    }
    if (in_ != In::tensor || field_ != "dtype") refuse("no string", in_quotes(value));
    const ElementInfo* found = find_safetensors(value);
    if (!found) refuse("a dtype such as F32, BF16 or U8", in_quotes(value));
    tensor_.info.type = found->type;
    return true;
  }

  bool null() override { refuse("no null"); }
  bool boolean(bool) override { refuse("no boolean"); }
  bool number_integer(std::int64_t value) override { refuse("no negative number", std::to_string(value)); }
  bool number_float(double, const std::string& text) override {
    refuse("a whole number below 2^64", in_quotes(text));
  }
  bool binary(nlohmann::json::binary_t&) override { refuse("no binary"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) override {
    throw FileError(file_, "header byte " + std::to_string(position), "JSON", reason(e));
  }

 private:
  enum class In { nothing, file, metadata, tensor, shape, offsets };

  bool go(In in) {
    in_ = in;
    return true;
  }

  void emit() {
    field_.clear();
    for (const char* field : {"dtype", "shape", "data_offsets"})
      if (!fields_.contains(field)) refuse("field " + in_quotes(field), "none");
    if (offsets_.size() != 2) refuse("two offsets", std::to_string(offsets_.size()));
    tensor_.begin = offsets_[0];
    tensor_.end = offsets_[1];
    header.tensors.push_back(std::move(tensor_));
  }

  [[noreturn]] void refuse(std::string_view expected, std::string_view found = "one") const {
    std::string place = "header";
    if (in_ == In::metadata)
      place += " " + std::string(metadata_key);
    else if (!name_.empty())
      place = "tensor " + in_quotes(name_);
    if (in_ != In::file && in_ != In::metadata && !field_.empty()) place += " field " + in_quotes(field_);
    throw FileError(file_, place, expected, found);
  }

  const std::string& file_;
  In in_ = In::nothing;
  std::string name_, field_;
  DeclaredTensor tensor_;
  std::vector<std::uint64_t> offsets_;
  std::set<std::string> names_, fields_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& file) {
  if (!json.starts_with('{'))
    throw FileError(file, "byte 8", "a JSON header that begins with '{'", in_quotes(json.substr(0, 8)));
  HeaderReader reader(file);
  nlohmann::json::sax_parse(json, &reader);
  return std::move(reader.header);
}

}  // namespace nvfp4::io
