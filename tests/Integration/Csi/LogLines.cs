using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>A log that remembers its lines, with the text of exceptions and the values of templates.</summary>
internal sealed class LogLines : ILogger
{
    private readonly ConcurrentQueue<(LogLevel Level, string Text)> _lines = new();

    public IReadOnlyList<(LogLevel Level, string Text)> Lines => [.. _lines];

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        var values = state is IEnumerable<KeyValuePair<string, object?>> pairs ? string.Join(' ', pairs.Select(pair => $"{pair.Key}={pair.Value}")) : "";
        _lines.Enqueue((logLevel, $"{formatter(state, exception)} | {values} | {exception}"));
    }

    /// <summary>The only line that has the text.</summary>
    public (LogLevel Level, string Text) Single(string text) => Assert.Single(Lines, line => line.Text.Contains(text, StringComparison.Ordinal));
}
