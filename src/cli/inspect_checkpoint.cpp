#include "inspect_checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "number.hpp"
#include "scale_histogram.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

// JSON.

/// Inf and NaN, which JSON has not, as texts.
Json number_json(float value) { return std::isfinite(value) ? Json(value) : Json(shortest(value)); }

Json to_json(const SecondLevel& s) {
  Json stored = Json::array(), decode = Json::array(), encode = Json::array();
  for (std::size_t i = 0; i < s.stored.size(); ++i) {
    stored.push_back(number_json(s.stored[i]));
    decode.push_back(number_json(s.decode(i).value));
    encode.push_back(number_json(s.encode(i).value));
  }
  return {{"direction", s.divides ? "divides" : "multiplies"},
          {"stored", stored},
          {"decode", decode},
          {"encode", encode}};
}

std::string format_of(const TensorReport& t) {
  const std::string type(t.type);
  return t.weight ? type + " (" + std::string(t.weight->convention) + ")" : type;
}

Json to_json(const TensorReport& t) {
  Json json{{"name", t.name},
            {"format", format_of(t)},
            {"shape", t.shape},
            {"bytes", t.bytes},
            {"bits_per_parameter", t.bits_per_parameter()}};
  if (!t.weight) return json;
  const WeightReport& w = *t.weight;
  json["layout"] = w.layout;
  json["zero_blocks"] = w.scales.zero();
  json["subnormal_blocks"] = w.scales.subnormal();
  json["clamped_blocks"] = w.scales.clamped();
  json["nan_blocks"] = w.scales.nan();
  json["zero_elements"] = w.zero_elements;
  json["amax"] = number_json(static_cast<float>(w.amax));
  json["scales"] = histogram_json(w.scales);
  if (w.second) json["second"] = to_json(*w.second);
  if (w.input) json["input"] = to_json(*w.input);
  return json;
}

Json to_json(const DialectEvidence& e) {
  Json excluded = Json::array();
  for (const DialectExclusion& x : e.excluded) excluded.push_back({{"dialect", x.dialect}, {"why", x.why}});
  return {{"producer", e.producer},
          {"producer_possible", e.producer_possible()},
          {"possible", e.possible},
          {"excluded", std::move(excluded)}};
}

Json to_json(const CheckpointReport& r) {
  Json json{{"kind", r.container},
            {"folder", r.folder},
            {"files", r.files},
            {"convention", r.convention.empty() ? Json() : Json(r.convention)},
            {"parameters", r.parameters()},
            {"bytes", r.bytes()},
            {"bits_per_parameter", r.bits_per_parameter()}};
  if (!r.convention.empty()) json["confidence"] = name(r.confidence);
  if (r.dialect) json["dialect"] = to_json(*r.dialect);
  if (r.scales.blocks) json["scales"] = histogram_json(r.scales);
  json["tensors"] = Json::array();
  for (const TensorReport& t : r.tensors) json["tensors"].push_back(to_json(t));
  return json;
}

// The tree.

/// A part of the names, and below it the rest; a leaf has one tensor, or those of all layers that are alike.
struct Node {
  std::string name;
  std::vector<Node> children = {};
  std::vector<const TensorReport*> tensors = {};

  Node& child(std::string_view part) {
    const auto found = std::find_if(children.begin(), children.end(),
                                    [&](const Node& n) { return n.name == part && n.tensors.empty(); });
    if (found != children.end()) return *found;
    return children.emplace_back(Node{std::string(part)});
  }
};

Node tree_of(const std::vector<TensorReport>& tensors) {
  Node root;
  for (const TensorReport& t : tensors) {
    Node* node = &root;
    std::size_t begin = 0;
    for (std::size_t dot; (dot = t.name.find('.', begin)) != std::string::npos; begin = dot + 1)
      node = &node->child(std::string_view(t.name).substr(begin, dot - begin));
    node->children.push_back({t.name.substr(begin), {}, {&t}});
  }
  return root;
}

bool is_number(const std::string& name) {
  return !name.empty() && name.size() < 10 &&
         std::all_of(name.begin(), name.end(), [](char c) { return '0' <= c && c <= '9'; });
}

std::string extents(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t extent : shape) text += (text.empty() ? "" : " x ") + std::to_string(extent);
  return text.empty() ? "scalar" : text;
}

/// Equal for layers that hold the same kinds of tensors.
std::string kind_of(const Node& node) {
  std::string kind;
  for (const TensorReport* t : node.tensors) {
    kind += format_of(*t) + extents(t->shape);
    if (t->weight) kind += t->weight->layout;
    break;
  }
  for (const Node& child : node.children) kind += "(" + child.name + ":" + kind_of(child) + ")";
  return kind;
}

void sort_layers(Node& node) {
  std::stable_sort(node.children.begin(), node.children.end(), [](const Node& a, const Node& b) {
    return is_number(a.name) && is_number(b.name) && std::stol(a.name) < std::stol(b.name);
  });
  for (Node& child : node.children) sort_layers(child);
}

void join(Node& into, const Node& other) {
  into.tensors.insert(into.tensors.end(), other.tensors.begin(), other.tensors.end());
  for (std::size_t i = 0; i < into.children.size(); ++i) join(into.children[i], other.children[i]);
}

/// Consecutive layers of one kind become one node.
void fold(Node& node) {
  for (Node& child : node.children) fold(child);
  std::vector<Node> folded;
  std::string last_kind, last_name;
  for (Node& child : node.children) {
    const std::string kind = is_number(child.name) ? kind_of(child) : "";
    const bool follows =
        !kind.empty() && kind == last_kind && std::stol(child.name) == std::stol(last_name) + 1;
    last_kind = kind, last_name = child.name;
    if (!follows) {
      folded.push_back(std::move(child));
      continue;
    }
    Node& first = folded.back();
    first.name = first.name.substr(0, first.name.find("..")) + ".." + child.name;
    join(first, child);
  }
  node.children = std::move(folded);
}

std::string range_text(const std::vector<const TensorReport*>& tensors, auto value) {
  float low = INFINITY, high = -INFINITY;
  for (const TensorReport* t : tensors)
    for (std::size_t i = 0; i < t->weight->second->stored.size(); ++i) {
      const float v = value(*t->weight->second, i);
      low = std::fmin(low, v), high = std::fmax(high, v);
    }
  return low == high ? shortest(low) : shortest(low) + ".." + shortest(high);
}

std::string second_text(const std::vector<const TensorReport*>& tensors) {
  if (!std::all_of(tensors.begin(), tensors.end(), [](const TensorReport* t) { return t->weight->second; }))
    return "no second level";
  const bool divides = tensors.front()->weight->second->divides;
  return "decode " +
         range_text(tensors, [](const SecondLevel& s, std::size_t i) { return s.decode(i).value; }) +
         (divides ? "" : " (stored)") + ", encode " +
         range_text(tensors, [](const SecondLevel& s, std::size_t i) { return s.encode(i).value; }) +
         (divides ? " (stored)" : "");
}

/// Blocks that are zero, subnormal, clamped and NaN, those that occur, and the share of elements that are zero.
std::string block_text(const std::vector<const TensorReport*>& tensors) {
  ScaleHistogram scales;
  std::int64_t zeros = 0, elements = 0;
  scales.format = tensors.front()->weight->scales.format;
  for (const TensorReport* t : tensors) {
    scales.add(t->weight->scales);
    zeros += t->weight->zero_elements;
    elements += t->parameters();
  }
  std::string text;
  for (const auto& [count, what] : {std::pair(scales.zero(), "zero"),
                                    {scales.subnormal(), "subnormal"},
                                    {scales.clamped(), "clamped"},
                                    {scales.nan(), "NaN"}})
    if (count) text += (text.empty() ? "" : ", ") + thousands(count) + " " + what;
  if (!text.empty()) text += " of " + thousands(scales.blocks) + " blocks; ";
  return text + fixed(elements ? 100.0 * static_cast<double>(zeros) / static_cast<double>(elements) : 0, 1) +
         "% zero codes";
}

std::string leaf_text(const Node& node, std::size_t indent) {
  const TensorReport& first = *node.tensors.front();
  std::string text =
      std::string(indent, ' ') + node.name + "  " + format_of(first) + "  " + extents(first.shape);
  if (!first.weight) return text + "\n";
  return text + "  " + std::string(first.weight->layout) + "  " + fixed(first.bits_per_parameter(), 3) +
         " bits\n" +
         coloured(Colour::dim, std::string(indent + 4, ' ') + second_text(node.tensors) + "; " +
                                   block_text(node.tensors)) +
         "\n";
}

std::string tree_text(const Node& node, std::size_t indent) {
  std::string text;
  for (const Node& child : node.children) {
    const Node* last = &child;
    std::string name = child.name;
    while (last->children.size() == 1 && last->tensors.empty()) {
      last = &last->children[0];
      name += "." + last->name;
    }
    Node named = *last;
    named.name = name;
    if (!last->tensors.empty())
      text += leaf_text(named, indent);
    else
      text += std::string(indent, ' ') + name + "\n" + tree_text(named, indent + 2);
  }
  return text;
}

// The head.

std::string convention_text(const CheckpointReport& r) {
  if (r.convention.empty()) return "  no block-scaled weights of a convention that is known here\n";
  const std::string_view how =
      r.confidence == Confidence::declared ? "its documents or types declare it"
      : r.confidence == Confidence::complete
          ? "by names, types and shapes of all such weights; nothing declares it"
          : "by names, types and shapes of some weights; others are incomplete (see lint)";
  return "  convention " + std::string(r.convention) + ": " + std::string(how) + "\n";
}

/// Never more than the bits show: what they exclude, and whether the usual producer is left.
std::string dialect_text(const DialectEvidence& e) {
  const std::string total = std::to_string(e.excluded.size() + e.possible.size());
  if (e.excluded.empty()) return "  dialect: cannot tell; the bits exclude none of " + total + "\n";
  std::string text = "  dialect: the bits exclude " + std::to_string(e.excluded.size()) + " of " + total;
  constexpr std::size_t few = 6;
  if (e.possible.empty()) return text + "; no quantizer that is known here is left\n";
  if (e.possible.size() <= few) {
    text += " and leave";
    for (const std::string_view d : e.possible) text += " " + std::string(d);
    return text + "\n";
  }
  return text + "; the convention's own, " + std::string(e.producer) +
         (e.producer_possible() ? ", is left, which does not show it\n" : ", is excluded\n");
}

}  // namespace

Outcome checkpoint_outcome(const CheckpointReport& r, bool all) {
  Outcome outcome{.json = to_json(r)};
  Node tree = tree_of(r.tensors);
  sort_layers(tree);
  if (!all) fold(tree);
  outcome.text = std::string(r.container) + (r.folder ? " in " + std::to_string(r.files) + " files" : "") +
                 ", " + std::to_string(r.tensors.size()) + " tensors, " + thousands(r.parameters()) +
                 " elements, " + fixed(r.bits_per_parameter(), 3) + " bits each\n" + convention_text(r);
  if (r.dialect) outcome.text += dialect_text(*r.dialect);
  outcome.text += tree_text(tree, 2);
  if (r.scales.blocks) outcome.text += histogram_text(r.scales);
  return outcome;
}

}  // namespace nvfp4::cli
