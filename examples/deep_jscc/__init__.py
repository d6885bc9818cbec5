"""Deep joint source-channel coding of images, validated by what is left of their meaning."""
