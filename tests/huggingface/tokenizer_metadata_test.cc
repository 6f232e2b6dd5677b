// What a model folder's tokenizer becomes, and what is refused.
#include "huggingface/tokenizer_metadata.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "support.h"

namespace steelyard::huggingface {
namespace {

TEST(TokenizerMetadata, AFolderWithoutATokenizerIsNamed) {
  const test::TempFolder folder;
  EXPECT_THROW(tokenizer_metadata(folder / "."), Error);
}

}  // namespace
}  // namespace steelyard::huggingface
