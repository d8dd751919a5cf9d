"""The page in the browser: paint a mask over a picture, have it filled, look at the result."""
