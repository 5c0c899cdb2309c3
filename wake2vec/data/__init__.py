"""What a run is made from: words, tokenizer, text; and what the words do to the text."""
