"""Template + model -> a call: grammar, drafters, verification, the base's cache, the last gate."""
