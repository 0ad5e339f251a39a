using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Diagnostics;
using System.Globalization;
using Google.Protobuf;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>Turns an HTTP/2 request into a call of a handler, and what comes of that into a response with trailers.</summary>
internal sealed class GrpcEndpoint
{
    /// <summary>A time-out beyond this is none: no call takes so long, and timers count milliseconds in 32 bits.</summary>
    private static readonly TimeSpan s_longestTimeout = TimeSpan.FromDays(20);

    /// <summary>Of a method's name in a log, in characters; the client chooses it.</summary>
    private const int MaxNameLength = 200;

    private readonly FrozenDictionary<string, GrpcService> _services;
    private readonly GrpcServerOptions _options;
    private readonly ILogger _logger;
    private readonly CancellationToken _stopping;

    /// <summary>Ends of handlers that have not ended, also of those whose call has been answered, and the methods that they answer.</summary>
    private readonly ConcurrentDictionary<Task, string> _running = new();

    public GrpcEndpoint(IReadOnlyList<GrpcService> services, GrpcServerOptions options, ILogger logger, CancellationToken stopping)
    {
        _services = services.ToFrozenDictionary(service => service.Name, StringComparer.Ordinal);
        _options = options;
        _logger = logger;
        _stopping = stopping;
    }

    /// <summary>The handlers that have not ended and the methods that they answer.</summary>
    public IReadOnlyCollection<KeyValuePair<Task, string>> Running => [.. _running];

    /// <summary>Answers one request. Throws nothing that a client or a handler can bring about.</summary>
    public async Task AnswerAsync(HttpContext http)
    {
        var started = Stopwatch.GetTimestamp();
        var name = Printable(http.Request.Path.Value ?? "");
        var outcome = await CallAsync(http).ConfigureAwait(false);
        try
        {
            _options.Completed?.Invoke(new GrpcCallReport(
                name, outcome.Request, outcome.Code, outcome.Message, Stopwatch.GetElapsedTime(started), outcome.Error));
        }
        catch (Exception e)
        {
            _logger.LogError(e, "reporting a call of {Method} failed; it is answered all the same", name);
        }

        if (!http.RequestAborted.IsCancellationRequested)
        {
            Respond(http.Response, outcome);
            await http.Response.CompleteAsync().ConfigureAwait(false);
        }
    }

    private static void Respond(HttpResponse response, in Outcome outcome)
    {
        response.StatusCode = outcome.HttpStatus;
        response.ContentType = GrpcHeaders.ContentType;
        response.Headers[GrpcHeaders.AcceptEncoding] = GrpcHeaders.Identity;
        var status = ((int)outcome.Code).ToString(CultureInfo.InvariantCulture);
        if (outcome.Body is { } body)
        {
            response.BodyWriter.Write(body.Span);
            response.AppendTrailer(GrpcHeaders.Status, status);
            return;
        }

        // "Trailers-only": with no body Kestrel ends the stream with these headers.
        response.Headers[GrpcHeaders.Status] = status;
        if (outcome.Message.Length > 0)
        {
            response.Headers[GrpcHeaders.Message] = GrpcHeaders.EncodeMessage(outcome.Message);
        }
    }

    /// <summary>As grpc-go: what is no gRPC at all has an HTTP status, everything else is 200 and a gRPC status.</summary>
    private async Task<Outcome> CallAsync(HttpContext http)
    {
        var request = http.Request;
        if (!HttpMethods.IsPost(request.Method))
        {
            return Outcome.Failed(GrpcStatusCode.Internal, $"the HTTP method is {Printable(request.Method)}; gRPC has only POST", StatusCodes.Status405MethodNotAllowed);
        }

        if (!GrpcHeaders.IsGrpc(request.ContentType))
        {
            return Outcome.Failed(
                GrpcStatusCode.InvalidArgument,
                $"the content type is \"{Printable(request.ContentType ?? "")}\"; {GrpcHeaders.ContentType} is understood",
                StatusCodes.Status415UnsupportedMediaType);
        }

        var (service, method, missing) = Find(request.Path.Value ?? "");
        if (method is null)
        {
            return Outcome.Failed(GrpcStatusCode.Unimplemented, missing);
        }

        TimeSpan? timeout = null;
        if (request.Headers[GrpcHeaders.Timeout] is { Count: > 0 } text)
        {
            if (!GrpcHeaders.TryParseTimeout(text.ToString(), out var parsed))
            {
                return Outcome.Failed(GrpcStatusCode.Internal, $"malformed {GrpcHeaders.Timeout}: \"{Printable(text.ToString())}\"");
            }

            if (parsed == TimeSpan.Zero)
            {
                return Outcome.Failed(GrpcStatusCode.DeadlineExceeded, "the deadline had passed when the call came");
            }

            timeout = parsed < s_longestTimeout ? parsed : null;
        }

        return await CallAsync(http, service!, method, timeout).ConfigureAwait(false);
    }

    private async Task<Outcome> CallAsync(HttpContext http, GrpcService service, GrpcMethod method, TimeSpan? timeout)
    {
        // Owned by the handler's task once there is one: a handler may go on after its call was answered.
        var cancel = CancellationTokenSource.CreateLinkedTokenSource(_stopping);
        if (timeout is { } some)
        {
            cancel.CancelAfter(some);
        }

        var call = new GrpcCall(
            service.Name,
            method.Name,
            http.Request.Headers.ToFrozenDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase),
            DateTime.UtcNow + timeout,
            cancel.Token);
        IMessage? message = null;
        Task<IMessage>? handler = null;
        try
        {
            await using var gone = http.RequestAborted.UnsafeRegister(Cancel, cancel);
            message = await ReadAsync(http.Request, method, cancel.Token).ConfigureAwait(false);
            var cancelled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using var registration = cancel.Token.UnsafeRegister(static state => ((TaskCompletionSource)state!).TrySetResult(), cancelled);

            // On a thread of its own, so that one that blocks in the kernel is answered for at its deadline too.
            var work = message;
            handler = Task.Run(() => method.Handler(work, call), CancellationToken.None);
            var run = new HandlerRun(handler, call, cancel);
            _running[run.Ended] = call.FullMethod;
            _ = EndAsync(run);
            await Task.WhenAny(handler, cancelled.Task).ConfigureAwait(false);
            return !handler.IsCompleted && run.TryLeave()
                ? Interrupted(http, message, null)
                : Outcome.Answered(message, await handler.ConfigureAwait(false));
        }
        catch (Exception e) when (cancel.IsCancellationRequested && e is GrpcException or OperationCanceledException)
        {
            // Whatever the handler made of it when it was cancelled: this is why.
            return Interrupted(http, message, e);
        }
        catch (GrpcException e)
        {
            return new Outcome(e.Code, e.Message, message, null, e, StatusCodes.Status200OK);
        }
        catch (Exception e)
        {
            // What went wrong is in the log with its stack; the client is told where to look and no more, for the text may hold anything.
            return new Outcome(
                GrpcStatusCode.Internal, $"internal error ({e.GetType().Name}): see the log of the driver", message, null, e, StatusCodes.Status200OK);
        }
        finally
        {
            if (handler is null)
            {
                cancel.Dispose();
            }
        }
    }

    private async Task<IMessage> ReadAsync(HttpRequest request, GrpcMethod method, CancellationToken cancellation)
    {
        try
        {
            return await GrpcFrame.ReadAsync(
                request.BodyReader, method.Parser, _options.MaxRequestBytes, request.Headers[GrpcHeaders.Encoding].ToString(), cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ConnectionAbortedException)
        {
            throw new GrpcException(GrpcStatusCode.Cancelled, "the client went away before its request was complete", e);
        }
    }

    private static void Cancel(object? source)
    {
        try
        {
            ((CancellationTokenSource)source!).Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The handler has ended: there is nothing left to cancel.
        }
    }

    /// <summary>Waits for a handler. One whose call was answered without it has nobody else to tell that it failed.</summary>
    private async Task EndAsync(HandlerRun run)
    {
        await ((Task)run.Handler).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (run.End() && run.Handler.Exception?.InnerException is { } error)
        {
            // Without its text, which may hold a secret of the request.
            _logger.LogWarning(
                "{Method} failed after its call had been answered: {Error}{Stack}",
                run.Call.FullMethod,
                error is GrpcException { Code: var code } ? code.ToString() : error.GetType().Name,
                Environment.NewLine + error.StackTrace);
        }

        run.Cancel.Dispose();
        _running.TryRemove(run.Ended, out _);
        run.SetEnded();
    }

    /// <summary>Why a call's token is cancelled: the client is gone, the server stops, or else it was the deadline.</summary>
    private Outcome Interrupted(HttpContext http, IMessage? request, Exception? error)
    {
        var (code, message) = http.RequestAborted.IsCancellationRequested ? (GrpcStatusCode.Cancelled, "the client cancelled the call or went away")
            : _stopping.IsCancellationRequested ? (GrpcStatusCode.Unavailable, "the driver is stopping: call again")
            : (GrpcStatusCode.DeadlineExceeded, "the deadline of the call has passed: call again, what was begun is taken up");
        return new Outcome(code, message, request, null, error, StatusCodes.Status200OK);
    }

    private (GrpcService? Service, GrpcMethod? Method, string Missing) Find(string path)
    {
        if (path.LastIndexOf('/') is not (> 0 and var slash))
        {
            return (null, null, $"malformed method name: \"{Printable(path)}\"");
        }

        var name = path[1..slash];
        var method = path[(slash + 1)..];
        if (!_services.TryGetValue(name, out var service))
        {
            return (null, null, $"unknown service {Printable(name)}");
        }

        return service.TryGet(method, out var found) ? (service, found, "") : (service, null, $"unknown method {Printable(method)} for service {name}");
    }

    /// <summary>A client's text for logs and messages: short, one line, ASCII; without the slash that a path begins with.</summary>
    private static string Printable(string text)
    {
        text = text.StartsWith('/') ? text[1..] : text;
        text = text.Length > MaxNameLength ? text[..MaxNameLength] + "..." : text;
        return string.Create(text.Length, text, static (span, source) =>
        {
            for (var i = 0; i < span.Length; i++)
            {
                span[i] = source[i] is >= ' ' and <= '~' ? source[i] : '?';
            }
        });
    }

    /// <summary>A handler at work. Either its call waits for its end, or has left it alone; which of the two came first is decided here.</summary>
    private sealed class HandlerRun(Task<IMessage> handler, GrpcCall call, CancellationTokenSource cancel)
    {
        private const int Waiting = 0, Left = 1, Over = 2;

        private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _state;

        public Task<IMessage> Handler => handler;

        public GrpcCall Call => call;

        public CancellationTokenSource Cancel => cancel;

        /// <summary>Completes when the handler has ended and that has been reported.</summary>
        public Task Ended => _ended.Task;

        /// <summary>The call is answered without the handler; false when it has just ended.</summary>
        public bool TryLeave() => Interlocked.CompareExchange(ref _state, Left, Waiting) == Waiting;

        /// <summary>The handler has ended; true when its call had left it.</summary>
        public bool End() => Interlocked.Exchange(ref _state, Over) == Left;

        public void SetEnded() => _ended.SetResult();
    }

    /// <summary>How a call ends.</summary>
    private readonly record struct Outcome(
        GrpcStatusCode Code, string Message, IMessage? Request, ReadOnlyMemory<byte>? Body, Exception? Error, int HttpStatus)
    {
        public static Outcome Failed(GrpcStatusCode code, string message, int httpStatus = StatusCodes.Status200OK) => new(code, message, null, null, null, httpStatus);

        /// <summary>Written here and not into the response, so that an answer that cannot be written is INTERNAL and not half of one.</summary>
        public static Outcome Answered(IMessage request, IMessage response)
        {
            ArgumentNullException.ThrowIfNull(response);
            var body = new ArrayBufferWriter<byte>();
            GrpcFrame.Write(body, response);
            return new Outcome(GrpcStatusCode.OK, "", request, body.WrittenMemory, null, StatusCodes.Status200OK);
        }
    }
}
