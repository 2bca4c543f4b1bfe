#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "text.hpp"

namespace nvfp4::io {

/// One object of a JSON document; every complaint names the file, the place in it and the field.
class Fields {
 public:
  /// `path` is the object's own, empty for the document. Throws FileError where it is no object.
  Fields(const nlohmann::json& object, std::string path, const std::string& file, const std::string& place);

  const nlohmann::json& at(const std::string& key) const;
  std::string text(const std::string& key) const;
  bool boolean(const std::string& key) const;
  std::int64_t integer(const std::string& key, std::int64_t low, std::int64_t high) const;
  std::int64_t integer(const nlohmann::json& value, const std::string& key, std::int64_t low,
                       std::int64_t high) const;
  void expect(const std::string& key, std::string_view expected) const;
  /// The one of these values of an enumeration that the field names.
  template <class E>
  E one_of(const std::string& key, std::initializer_list<E> values) const {
    const std::string found = text(key);
    std::string names;
    for (const E value : values) {
      if (name(value) == found) return value;
      names += (names.empty() ? "" : ", ") + std::string(name(value));
    }
    refuse(key, "one of " + names, in_quotes(found));
  }
  Fields object(const std::string& key) const;
  bool has(const std::string& key) const { return object_.contains(key); }
  const nlohmann::json& all() const { return object_; }

  [[noreturn]] void refuse(const std::string& key, std::string_view expected, std::string_view found) const;

 private:
  std::string path_of(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

  const nlohmann::json& object_;
  std::string path_;
  const std::string& file_;
  const std::string& place_;
};

}  // namespace nvfp4::io
