"""The web page of ``mimicgan serve``, thin over ``restore``; ``page`` alone imports gradio."""
