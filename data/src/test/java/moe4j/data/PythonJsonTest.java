package moe4j.data;

import static org.testng.Assert.assertEquals;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.testng.annotations.Test;

/** All texts are Python's. */
public class PythonJsonTest {
  @Test
  public void spellsNumbersAsPython() {
    String[] texts = {
      "0.1",
      "1e+16",
      "1e-05",
      "1.2345678901234568e+17",
      "0.002",
      "0.3333333333333333",
      "5e-324",
      "1.7976931348623157e+308",
      "100.0",
      "9007199254740992.0",
      "1e+22",
      "0.0001",
      "-1.5e-07",
      "1.1805916207174113e+21",
      "1000000000000000.0",
      "0.0",
      "2e+23"
    };
    for (String text : texts) {
      assertEquals(PythonJson.repr(Double.parseDouble(text)), text);
    }
  }

  @Test
  public void indentsAsPython() {
    Map<String, Object> tokenizer = new LinkedHashMap<>();
    tokenizer.put("path\n\u007f", null);
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("a", List.of(1, List.of(0.5), List.of()));
    map.put("größe \"x\\", tokenizer);
    map.put("none", Map.of());
    assertEquals(
        PythonJson.dumps(map),
        """
        {
            "a": [
                1,
                [
                    0.5
                ],
                []
            ],
            "gr\\u00f6\\u00dfe \\"x\\\\": {
                "path\\n\\u007f": null
            },
            "none": {}
        }""");
  }
}
