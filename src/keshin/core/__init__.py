"""A model as data: fact sheet, tokenizer, pictures, checkpoint folder, foreign layouts."""
