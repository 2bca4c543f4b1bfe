#include "fields.hpp"

#include <nvfp4/io/error.hpp>

#include "text.hpp"

namespace nvfp4::io {

using nlohmann::json;

Fields::Fields(const json& object, std::string path, const std::string& file, const std::string& place)
    : object_(object), path_(std::move(path)), file_(file), place_(place) {
  if (!object_.is_object())
    throw FileError(file_, place_ + (path_.empty() ? "" : " field " + in_quotes(path_)), "an object",
                    object_.type_name());
}

const json& Fields::at(const std::string& key) const {
  const auto found = object_.find(key);
  if (found == object_.end()) refuse(key, "it", "none");
  return *found;
}

std::string Fields::text(const std::string& key) const {
  if (!at(key).is_string()) refuse(key, "a string", at(key).type_name());
  return at(key).get<std::string>();
}

bool Fields::boolean(const std::string& key) const {
  if (!at(key).is_boolean()) refuse(key, "true or false", at(key).type_name());
  return at(key).get<bool>();
}

std::int64_t Fields::integer(const std::string& key, std::int64_t low, std::int64_t high) const {
  return integer(at(key), key, low, high);
}

std::int64_t Fields::integer(const json& value, const std::string& key, std::int64_t low,
                             std::int64_t high) const {
  const std::string expected = "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  if (!value.is_number_integer()) refuse(key, expected, value.type_name());
  const bool fits = !value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t(high);
  if (!fits || value.get<std::int64_t>() < low || value.get<std::int64_t>() > high)
    refuse(key, expected, value.dump());
  return value.get<std::int64_t>();
}

void Fields::expect(const std::string& key, std::string_view expected) const {
  if (text(key) != expected) refuse(key, in_quotes(expected), in_quotes(text(key)));
}

Fields Fields::object(const std::string& key) const { return {at(key), path_of(key), file_, place_}; }

void Fields::refuse(const std::string& key, std::string_view expected, std::string_view found) const {
  throw FileError(file_, place_ + " field " + in_quotes(path_of(key)), expected, found);
}

}  // namespace nvfp4::io
