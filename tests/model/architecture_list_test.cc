// docs/architectures.md lists every architecture of the registry, and every golden is of one that it lists.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "gguf/reader.h"
#include "golden_models.h"

namespace steelyard::model {
namespace {

std::set<std::string> registered() {
  return {
#define ARCHITECTURE(identifier, name) name,
#include "model/arch/archs.def"
#undef ARCHITECTURE
  };
}

TEST(ArchitectureList, DocsNameEveryArchitecture) {
  const std::string page = test::read_text(std::string(STEELYARD_SOURCE_DIR) + "/docs/architectures.md");
  std::set<std::string> listed;
  const std::regex row("\n\\| `([^`]+)` \\| [^|]+ \\| [^|]+ \\| `[a-z0-9_]+\\.cc` \\|");
  for (std::sregex_iterator found(page.begin(), page.end(), row), end; found != end; ++found)
    listed.insert((*found)[1]);
  EXPECT_EQ(listed, registered());
}

TEST(ArchitectureList, GoldensAreOfKnownArchitectures) {
  const std::set<std::string> known = registered();
  for (const std::string& model : test::golden_models()) {
    const gguf::Reader reader(test::golden("models/" + model + "/model.gguf"), gguf::ReadMode::kHeader);
    EXPECT_TRUE(known.contains(std::string(reader.metadata().string("general.architecture")))) << model;
  }
}

}  // namespace
}  // namespace steelyard::model
